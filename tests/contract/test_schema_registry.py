"""The registry store against a server that speaks the three calls it needs."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from streamjobs.codec import MemorySchemaStore
from streamjobs.errors import (
    AuthenticationError,
    InvalidRecord,
    SchemaConflict,
    SchemaUnavailable,
)
from streamjobs.kafka.schema_registry import RegistryStore
from streamjobs.kafka.stores import open_store
from streamjobs.settings import Settings

SCHEMA = '{"type":"record","name":"pay","namespace":"shop","fields":[]}'
CANARY = "c4n4ry-p4ssw0rd"


class Registry(ThreadingHTTPServer):
    """Subjects, ids and the wish to answer something else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.subjects: dict[str, list[int]] = {}
        self.schemas: dict[int, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.credentials: set[str] = set()
        self.answer: int | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def settings(self, userinfo: str = "") -> Settings:
        return Settings(schema_registry_url=f"http://{userinfo}127.0.0.1:{self.port}/apis")


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_POST(self) -> None:
        path = self._seen()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, subject, _ = path.removeprefix("/apis/").split("/")
        number = len(self.server.schemas) + 1
        self.server.schemas[number] = body
        self.server.subjects.setdefault(unquote(subject), []).append(number)
        self._say(200, {"id": number})

    def do_GET(self) -> None:
        number = int(self._seen().rpartition("/")[2])
        if number in self.server.schemas:
            self._say(200, self.server.schemas[number])
        else:
            self._say(404, {"error_code": 40403, "message": "Schema not found"})

    def _seen(self) -> str:
        self.server.requests.append((self.command, self.path))
        self.server.credentials.add(self.headers.get("Authorization", ""))
        return urlsplit(self.path).path

    def _say(self, status: int, body: dict[str, Any]) -> None:
        if self.server.answer is not None:
            status, body = self.server.answer, {"error_code": 1, "message": "not today"}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_schema_that_one_writes_another_reads(registry: Registry) -> None:
    prefix = RegistryStore(registry.settings()).prefix("shop.mail", "shop.pay", SCHEMA)

    assert prefix == b"\x00\x00\x00\x00\x01"
    assert registry.subjects == {"shop.mail-shop.pay": [1]}
    assert RegistryStore(registry.settings()).schema(prefix) == SCHEMA


def test_each_is_asked_for_once(registry: Registry) -> None:
    store = RegistryStore(registry.settings())

    for _ in range(3):
        prefix = store.prefix("shop.mail", "shop.pay", SCHEMA)
    reader = RegistryStore(registry.settings())
    for _ in range(3):
        reader.schema(prefix)

    assert [method for method, _ in registry.requests] == ["POST", "GET"]


def test_an_id_that_is_not_there_is_no_record_of_ours(registry: Registry) -> None:
    store = RegistryStore(registry.settings())

    with pytest.raises(InvalidRecord, match="no schema 4711"):
        store.schema(b"\x00" + (4711).to_bytes(4, "big"))
    with pytest.raises(InvalidRecord):
        store.schema(MemorySchemaStore().prefix("", "", SCHEMA))


def test_what_is_not_avro_is_no_record_of_ours(registry: Registry) -> None:
    registry.schemas[1] = {"schema": "{}", "schemaType": "JSON"}

    with pytest.raises(InvalidRecord, match="not Avro"):
        RegistryStore(registry.settings()).schema(b"\x00\x00\x00\x00\x01")


@pytest.mark.parametrize(
    ("answer", "writing", "reading"),
    [
        (409, SchemaConflict, SchemaUnavailable),
        (401, AuthenticationError, SchemaUnavailable),
        (403, AuthenticationError, SchemaUnavailable),
        (500, SchemaUnavailable, SchemaUnavailable),
    ],
)
def test_what_the_registry_refuses(
    registry: Registry, answer: int, writing: type[Exception], reading: type[Exception]
) -> None:
    registry.answer = answer
    store = RegistryStore(registry.settings(f"me:{CANARY}@"))

    with pytest.raises(writing) as wrote:
        store.prefix("shop.mail", "shop.pay", SCHEMA)
    with pytest.raises(reading) as read:
        store.schema(b"\x00\x00\x00\x00\x01")

    assert CANARY not in str(wrote.value) + str(read.value)


def test_nobody_there_is_unavailable(registry: Registry) -> None:
    settings = registry.settings(f"me:{CANARY}@")
    registry.server_close()
    store = RegistryStore(settings)

    with pytest.raises(SchemaUnavailable, match="does not answer") as wrote:
        store.prefix("shop.mail", "shop.pay", SCHEMA)
    with pytest.raises(SchemaUnavailable, match="does not answer") as read:
        store.schema(b"\x00\x00\x00\x00\x01")

    assert CANARY not in str(wrote.value) + str(read.value)


def test_user_and_password_are_sent_and_not_logged(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        store = RegistryStore(registry.settings(f"me:{CANARY}%40@"))
        store.prefix("shop.mail", "shop.pay", SCHEMA)

    basic = base64.b64encode(f"me:{CANARY}@".encode()).decode()
    assert registry.credentials == {f"Basic {basic}"}
    assert CANARY not in caplog.text
    assert CANARY not in repr(store)


def test_a_registry_in_the_settings_is_the_store(registry: Registry) -> None:
    assert isinstance(open_store(registry.settings(), "shop"), RegistryStore)
