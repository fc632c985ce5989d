"""Where writer schemas are kept: what a store promises, and one that lives in memory."""

from __future__ import annotations

from typing import Protocol

from streamjobs.codec.schema import fingerprint, same_logical_types
from streamjobs.errors import InvalidRecord, SchemaConflict

SINGLE_OBJECT = b"\xc3\x01"
"""The marker of Avro single-object encoding, version 1; the fingerprint follows."""
SINGLE_OBJECT_SIZE = 10
CONFLUENT = b"\x00"
"""The magic byte of Confluent's wire format; a schema id of 4 bytes, big endian, follows."""
CONFLUENT_SIZE = 5


class SchemaStore(Protocol):
    """Writer schemas by the bytes that stand before an Avro datum; safe from every thread."""

    def prefix(self, topic: str, name: str, schema: str) -> bytes:
        """Make sure that ``schema`` is durably kept, and return the bytes that refer to it.

        Args:
            topic: the topic the record goes to (a Schema Registry's subject needs it).
            name: the schema's full Avro name, ``APP.JOB``.
            schema: its text.

        Returns:
            10 bytes (single object) or 5 bytes (Confluent); cached, so cheap from the second on.

        Raises:
            SchemaConflict: the fingerprint belongs to a text of other logical types.
            SchemaUnavailable: the store does not answer.
        """

    def schema(self, prefix: bytes) -> str:
        """Return the writer schema that a record's leading bytes refer to.

        Raises:
            InvalidRecord: there is no such schema.
            SchemaUnavailable: the store does not answer.
        """


def single_object_prefix(schema: str) -> bytes:
    """Return the 10 bytes before a datum: ``C3 01`` and the schema's fingerprint."""
    return SINGLE_OBJECT + fingerprint(schema)


def check_same_meaning(prefix: bytes, name: str, kept: str, offered: str) -> None:
    """Refuse a schema whose fingerprint is taken by one that means other values.

    Raises:
        SchemaConflict: the two differ in a logical type, a precision or a scale.
    """
    if kept != offered and not same_logical_types(kept, offered):
        raise SchemaConflict(
            f"schema {name!r}: the store has another of fingerprint {prefix[2:].hex()}, whose "
            "logical types (or decimal precision and scale) differ, so old records would be read "
            "as other values: give the changed parameter, or the job, a new name"
        )


class MemorySchemaStore:
    """Writer schemas in this process only: for tests."""

    def __init__(self) -> None:
        self._texts: dict[bytes, str] = {}
        self._prefixes: dict[str, bytes] = {}

    def prefix(self, topic: str, name: str, schema: str) -> bytes:  # noqa: ARG002 - the protocol's
        """Keep ``schema`` and return its single-object prefix; see ``SchemaStore``."""
        known = self._prefixes.get(schema)
        if known is not None:
            return known
        prefix = single_object_prefix(schema)
        check_same_meaning(prefix, name, self._texts.setdefault(prefix, schema), schema)
        self._prefixes[schema] = prefix
        return prefix

    def schema(self, prefix: bytes) -> str:
        """Return a schema that was kept; see ``SchemaStore``."""
        try:
            return self._texts[prefix]
        except KeyError:
            raise InvalidRecord(
                f"no schema has the fingerprint {prefix.hex()}: the record is not ours, or the "
                "schema was lost"
            ) from None
