"""Writer schemas in a Schema Registry that speaks Confluent's protocol."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from streamjobs.codec.store import CONFLUENT, CONFLUENT_SIZE
from streamjobs.errors import (
    AuthenticationError,
    InvalidRecord,
    SchemaConflict,
    SchemaUnavailable,
    SettingsError,
    StreamjobsError,
)
from streamjobs.settings import Settings, hide_userinfo

_TIMEOUT = 5
_NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 404, 409, 422
_REFUSED = (401, 403)


class RegistryStore:
    """Schemas by the registry's ids; subjects are TopicRecordName, ``TOPIC-APP.JOB``.

    Args:
        settings: with ``schema_registry_url``; a user and password in it are sent as basic
            authentication, and never shown.

    Raises:
        SettingsError: there is no such setting.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.schema_registry_url is None:
            raise SettingsError("schema_registry_url: not set")
        self._where = hide_userinfo(settings.schema_registry_url)
        self._client = SchemaRegistryClient(_client_config(settings.schema_registry_url))
        self._prefixes: dict[tuple[str, str, str], bytes] = {}
        self._texts: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def prefix(self, topic: str, name: str, schema: str) -> bytes:
        """Register ``schema`` where it is not yet; see ``SchemaStore``.

        Raises:
            SchemaConflict: the registry's compatibility rule refuses it.
            SchemaUnavailable: no answer from the registry.
            AuthenticationError: the registry refuses us.
        """
        known = self._prefixes.get((topic, name, schema))
        if known is not None:
            return known
        subject = f"{topic}-{name}"
        with self._lock:
            try:
                number = self._client.register_schema(subject, Schema(schema, "AVRO"))
            except Exception as error:
                raise self._trouble(error, f"registering {subject}") from error
        prefix = CONFLUENT + number.to_bytes(CONFLUENT_SIZE - 1, "big")
        self._prefixes[topic, name, schema] = prefix
        return prefix

    def schema(self, prefix: bytes) -> str:
        """Return the text of a writer schema; see ``SchemaStore``.

        Raises:
            InvalidRecord: the registry has no such Avro schema.
            SchemaUnavailable: no answer from the registry.
        """
        text = self._texts.get(prefix)
        if text is not None:
            return text
        if len(prefix) != CONFLUENT_SIZE or not prefix.startswith(CONFLUENT):
            raise InvalidRecord(
                f"a record that begins with {prefix.hex() or 'nothing'} refers to no schema in the "
                "registry"
            )
        number = int.from_bytes(prefix[1:], "big")
        with self._lock:
            found = self._fetch(number)
        if found.schema_type != "AVRO" or found.schema_str is None:
            raise InvalidRecord(f"schema {number} of the registry is {found.schema_type}, not Avro")
        self._texts[prefix] = found.schema_str
        return found.schema_str

    def _fetch(self, number: int) -> Schema:
        try:
            return self._client.get_schema(number)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                raise InvalidRecord(
                    f"the registry at {self._where} has no schema {number}"
                ) from error
            # Wrong rights may be put right; the record itself may be perfectly good.
            raise SchemaUnavailable(str(self._trouble(error, f"schema {number}"))) from error
        except Exception as error:
            raise self._trouble(error, f"asking for schema {number}") from error

    def _trouble(self, error: Exception, doing: str) -> StreamjobsError:
        where = f"{doing}: the schema registry at {self._where}"
        if not isinstance(error, SchemaRegistryError):
            # The client's own message may contain the address it was given.
            return SchemaUnavailable(
                f"{where} does not answer ({type(error).__name__}): check that it runs and that "
                "STREAMJOBS_SCHEMA_REGISTRY_URL is right"
            )
        if error.http_status_code in _REFUSED:
            return AuthenticationError(
                f"{where} refuses us ({error.http_status_code}): check user and password in "
                "STREAMJOBS_SCHEMA_REGISTRY_URL"
            )
        said = hide_userinfo(str(error.error_message))
        if error.http_status_code in (_CONFLICT, _UNPROCESSABLE):
            return SchemaConflict(
                f"{where} refuses the schema ({said}): make the change compatible, or give the job "
                "a new name"
            )
        return SchemaUnavailable(f"{where} answers {error.http_status_code} ({said})")


def _client_config(url: str) -> dict[str, Any]:
    """Take user and password out of the URL, so that no log of the HTTP client has them."""
    config: dict[str, Any] = {"timeout": _TIMEOUT, "max.retries": 1, "retries.wait.ms": 200}
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        config["basic.auth.user.info"] = f"{unquote(name)}:{unquote(password)}"
    config["url"] = urlunsplit(parts._replace(netloc=host))
    return config
