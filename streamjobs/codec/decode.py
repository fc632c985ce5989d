"""Bytes to calls: everything that can be wrong with a record is an error of one kind here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydantic import ValidationError

from streamjobs.codec.arguments import Arguments
from streamjobs.codec.forms import Unfit
from streamjobs.codec.jsonable import jsonable
from streamjobs.codec.layout import OPTIONS, TIME, TIME_SIZE
from streamjobs.codec.limits import BadBytes, Walk, walk_all
from streamjobs.codec.resolve import Resolution, args_of
from streamjobs.codec.schema import JobSchema, job_schema
from streamjobs.codec.store import (
    CONFLUENT,
    CONFLUENT_SIZE,
    SINGLE_OBJECT,
    SINGLE_OBJECT_SIZE,
    SchemaStore,
)
from streamjobs.codec.writer import Writer, read_datum
from streamjobs.errors import InvalidRecord, UnknownJob
from streamjobs.job import Envelope, JobDefinition
from streamjobs.registry import Registry
from streamjobs.wording import counted

_TOMBSTONE = "the record has no value (a tombstone): no job is like that"


@dataclass(frozen=True)
class Description:
    """A record as its own writer schema tells it, for people and for JSON.

    Attributes:
        id: the job's id.
        job: its name.
        enqueued_at: microseconds since the epoch.
        args: the arguments as JSON values (bytes as base64, times as ISO 8601), as
            ``Encoder.check(..., lax=True)`` takes them.
    """

    id: str
    job: str
    enqueued_at: int
    args: dict[str, Any]


@dataclass(slots=True)
class _Route:
    """A writer schema, and what becomes of its records here.

    Attributes:
        writer: the schema.
        match: the writer's, if its records may take the short cut.
        body: the writer's.
        walk: the writer's.
        definition: the job, if this release has it.
        arguments: the job's checks.
        as_read: what fastavro reads is what the handler takes.
        refusal: why none of its records can become a call, if so.
    """

    writer: Writer
    match: Callable[[bytes, int], re.Match[bytes] | None] | None = None
    body: Any = None
    walk: Walk | None = None
    definition: JobDefinition | None = None
    arguments: Arguments | None = None
    as_read: bool = False
    refusal: str | None = None


class Decoder:
    """Decodes records into calls of the registry's jobs; safe from every thread.

    Args:
        app: the app's name.
        registry: its jobs; one may be added later.
        store: where writer schemas are.
    """

    def __init__(self, app: str, registry: Registry, store: SchemaStore) -> None:
        self._app, self._registry, self._store = app, registry, store
        self._routes: dict[bytes, _Route] = {}
        self._unusable: dict[bytes, str] = {}
        self._own: dict[str, tuple[JobSchema, Arguments]] = {}

    def decode(self, value: bytes | None) -> tuple[JobDefinition, Envelope]:
        """Return the job and the envelope that a record's value holds.

        Raises:
            InvalidRecord: it is not ours, cut short, has bytes left over, or does not fit the
                job's signature.
            UnknownJob: it is well formed, and the registry has no job of its name.
            SchemaUnavailable: the schema store does not answer.
        """
        if value is None:
            raise InvalidRecord(_TOMBSTONE)
        route = self._route(value)
        start = route.writer.start
        if route.match is None or (match := route.match(value, start)) is None:
            return self._decode_slowly(route, value)
        stream = BytesIO(value)
        stream.seek(match.end() - TIME_SIZE - 1)
        try:
            if route.walk is not None:
                walk_all(route.walk, value, match.end())
            args = read_datum(stream, route.body, None)
        except Exception as error:
            raise route.writer.unreadable(error) from error
        if stream.tell() != len(value):
            raise route.writer.unreadable(BadBytes("bytes are left over"))
        enqueued_at = args.pop(TIME)
        del args[OPTIONS]
        if not route.as_read:
            args = self._arguments(route, args)
        definition: Any = route.definition
        return definition, Envelope(match[1].decode(), definition.name, enqueued_at, None, args)

    def describe(self, value: bytes | None) -> Description:
        """Return what a record says by its writer schema alone; the job need not be known here.

        Raises:
            InvalidRecord: it cannot be read.
            SchemaUnavailable: the schema store does not answer.
        """
        if value is None:
            raise InvalidRecord(_TOMBSTONE)
        route = self._route(value)
        record = route.writer.read(value)
        args = {
            name: jsonable(_as_told(route, name, item)) for name, item in record["args"].items()
        }
        return Description(record["id"], record["job"], record["enqueued_at"], args)

    def _decode_slowly(self, route: _Route, value: bytes) -> tuple[JobDefinition, Envelope]:
        record = route.writer.read(value)
        if route.definition is None and route.writer.job in self._registry.jobs:
            route = self._load(route.writer.prefix)
        if route.definition is None:
            raise self._unknown(route.writer)
        if route.refusal is not None:
            raise InvalidRecord(route.refusal)
        args = record["args"] if route.as_read else self._arguments(route, record["args"])
        options = record.get("options")
        return route.definition, Envelope(
            record["id"], record["job"], record["enqueued_at"], options, args
        )

    def _arguments(self, route: _Route, args: dict[str, Any]) -> dict[str, Any]:
        arguments: Any = route.arguments
        try:
            made: dict[str, Any] = arguments.from_wire(args)
        except Unfit as error:
            problems = str(error)
        except ValidationError as error:
            problems = arguments.problems(error)
        except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
            problems = f"{type(error).__name__}: {error}"
        else:
            return made
        raise InvalidRecord(f"job {route.writer.job!r}: {problems}")

    def _unknown(self, writer: Writer) -> UnknownJob:
        there = ", ".join(sorted(self._registry.jobs)) or "none"
        return UnknownJob(
            f"app {self._app!r} has no job {writer.job!r} here; this release has: {there}"
        )

    def _route(self, value: bytes) -> _Route:
        get = self._routes.get
        known = get(value[:SINGLE_OBJECT_SIZE]) or get(value[:CONFLUENT_SIZE])
        return known or self._load(_prefix(value))

    def _load(self, prefix: bytes) -> _Route:
        if prefix in self._unusable:
            raise InvalidRecord(self._unusable[prefix])
        text = self._store.schema(prefix)
        try:
            writer = Writer(prefix, text)
        except InvalidRecord as error:
            self._unusable[prefix] = str(error)
            raise
        route = _Route(writer)
        definition = self._registry.jobs.get(writer.job)
        if definition is not None:
            self._join(route, definition)
        self._routes[prefix] = route
        return route

    def _join(self, route: _Route, definition: JobDefinition) -> None:
        """Compare what was written with what this release's signature wants."""
        writer = route.writer
        schema, arguments = self._own_schema(definition)
        route.definition, route.arguments = definition, arguments
        written = {field["name"] for field in args_of(writer.schema)["fields"]}
        problems = Resolution(writer.schema, schema.json).problems() + [
            f"{name}: the record is older than this parameter, which has no default"
            for name in arguments.forms
            if name in arguments.required - written and arguments.forms[name].inner is None
        ]
        if problems:
            route.refusal = f"job {writer.job!r} was written otherwise: " + "; ".join(problems)
            return
        route.match, route.body, route.walk = writer.match, writer.body, writer.walk
        route.as_read = arguments.plain and writer.same_arguments(schema.json)

    def _own_schema(self, definition: JobDefinition) -> tuple[JobSchema, Arguments]:
        if definition.name not in self._own:
            schema = job_schema(self._app, definition)
            self._own[definition.name] = schema, Arguments(definition, schema.forms)
        return self._own[definition.name]


def _as_told(route: _Route, name: str, value: Any) -> Any:
    """Return the value as the job's hint tells it, where there is one: a long may be a duration."""
    if route.arguments is None or route.refusal or name not in route.arguments.forms:
        return value
    try:
        return route.arguments.forms[name].from_wire(value)
    except Unfit:
        return value


def _prefix(value: bytes) -> bytes:
    """Return the leading bytes that refer to a schema.

    Raises:
        InvalidRecord: it begins otherwise, or is too short.
    """
    if value.startswith(SINGLE_OBJECT) and len(value) > SINGLE_OBJECT_SIZE:
        return value[:SINGLE_OBJECT_SIZE]
    if value.startswith(CONFLUENT) and len(value) > CONFLUENT_SIZE:
        return value[:CONFLUENT_SIZE]
    raise InvalidRecord(
        f"{counted(len(value), 'byte')} beginning {value[:4].hex() or 'with nothing'}: jobs "
        "begin with c301 and a fingerprint (Avro single object) or 00 and a schema id (Confluent)"
    )
