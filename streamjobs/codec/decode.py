"""Bytes to calls: everything that can be wrong with a record is an error of one kind here."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydantic import ValidationError

from streamjobs.codec.arguments import Arguments
from streamjobs.codec.forms import Unfit
from streamjobs.codec.jsonable import jsonable
from streamjobs.codec.layout import OPTIONS, TIME, TIME_RANGE, TIME_SIZE
from streamjobs.codec.resolve import Resolution
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


@dataclass(frozen=True)
class Description:
    """A record as its own writer schema tells it, for people and for JSON.

    Attributes:
        id: the job's id.
        job: its name.
        enqueued_at: microseconds since the epoch.
        args: the arguments as JSON values (bytes as base64, times as ISO 8601).
    """

    id: str
    job: str
    enqueued_at: int
    args: dict[str, Any]


@dataclass(slots=True)
class _Route:
    """A writer schema and what its records become here."""

    writer: Writer
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
        self._own: dict[str, tuple[JobSchema, Arguments]] = {}

    def decode(self, value: bytes | None) -> tuple[JobDefinition, Envelope]:
        """Return the job and the envelope that a record's value holds.

        Raises:
            InvalidRecord: it is not ours, cut short, has bytes left over, or does not fit the
                job's signature.
            UnknownJob: it is well formed, and the registry has no job of its name.
            SchemaUnavailable: the schema store does not answer.
        """
        route = self._route(value)
        writer, definition = route.writer, route.definition
        if route.refusal is not None:
            raise InvalidRecord(route.refusal)
        assert value is not None  # noqa: S101 - _route refuses None
        match = writer.match(value, writer.start) if writer.match else None
        if match is None:
            return self._decode_slowly(route, value)
        stream = BytesIO(value)
        stream.seek(match.end() - TIME_SIZE - 1)
        try:
            args = read_datum(stream, writer.body, None)
        except Exception as error:
            raise writer.unreadable(error) from error
        enqueued_at = args.pop(TIME)
        del args[OPTIONS]
        if enqueued_at not in TIME_RANGE or stream.tell() != len(value):
            return self._decode_slowly(route, value)
        if definition is None:
            raise self._unknown(writer)
        if not route.as_read:
            args = self._arguments(route, args)
        return definition, Envelope(match[1].decode(), writer.job, enqueued_at, None, args)

    def describe(self, value: bytes | None) -> Description:
        """Return what a record says by its writer schema alone; the job need not be known here.

        Raises:
            InvalidRecord: it cannot be read.
            SchemaUnavailable: the schema store does not answer.
        """
        writer = self._route(value).writer
        assert value is not None  # noqa: S101 - _route refuses None
        record = writer.read(value)
        args = {name: jsonable(item) for name, item in record["args"].items()}
        return Description(record["id"], record["job"], record["enqueued_at"], args)

    def _decode_slowly(self, route: _Route, value: bytes) -> tuple[JobDefinition, Envelope]:
        record = route.writer.read(value)
        if route.definition is None:
            raise self._unknown(route.writer)
        args = record["args"] if route.as_read else self._arguments(route, record["args"])
        options = record.get("options")
        return route.definition, Envelope(
            record["id"], record["job"], record["enqueued_at"], options, args
        )

    def _arguments(self, route: _Route, args: dict[str, Any]) -> dict[str, Any]:
        assert route.arguments is not None  # noqa: S101 - set together with the definition
        try:
            return route.arguments.from_wire(args)
        except Unfit as error:
            problems = str(error)
        except ValidationError as error:
            problems = route.arguments.problems(error)
        raise InvalidRecord(f"job {route.writer.job!r}: {problems}")

    def _unknown(self, writer: Writer) -> UnknownJob:
        there = ", ".join(sorted(self._registry.jobs)) or "none"
        return UnknownJob(
            f"app {self._app!r} has no job {writer.job!r} here; this release has: {there}"
        )

    def _route(self, value: bytes | None) -> _Route:
        try:
            route = self._routes[value[:SINGLE_OBJECT_SIZE]]  # type: ignore[index]
        except (KeyError, TypeError):
            route = self._routes.get(_prefix(value)) or self._load(_prefix(value))
        # A job may be registered after its first record was seen.
        if route.definition is None and route.writer.job in self._registry.jobs:
            route = self._load(route.writer.prefix)
        return route

    def _load(self, prefix: bytes) -> _Route:
        writer = Writer(prefix, self._store.schema(prefix))
        route = _Route(writer)
        definition = self._registry.jobs.get(writer.job)
        if definition is not None:
            schema, arguments = self._own_schema(definition)
            route.definition, route.arguments = definition, arguments
            problems = Resolution(writer.schema, schema.json).problems()
            if problems:
                route.refusal = f"job {writer.job!r} was written otherwise: " + "; ".join(problems)
            route.as_read = arguments.plain and writer.same_arguments(schema.json)
        self._routes[prefix] = route
        return route

    def _own_schema(self, definition: JobDefinition) -> tuple[JobSchema, Arguments]:
        if definition.name not in self._own:
            schema = job_schema(self._app, definition)
            self._own[definition.name] = schema, Arguments(definition, schema.forms)
        return self._own[definition.name]


def _prefix(value: bytes | None) -> bytes:
    """Return the leading bytes that refer to a schema.

    Raises:
        InvalidRecord: there is no value, or it begins otherwise or too short.
    """
    if value is None:
        raise InvalidRecord("the record has no value (a tombstone): no job is like that")
    if value.startswith(SINGLE_OBJECT) and len(value) > SINGLE_OBJECT_SIZE:
        return value[:SINGLE_OBJECT_SIZE]
    if value.startswith(CONFLUENT) and len(value) > CONFLUENT_SIZE:
        return value[:CONFLUENT_SIZE]
    raise InvalidRecord(
        f"{len(value):,} bytes beginning {value[:4].hex() or 'with nothing'}: jobs begin with c301 "
        "and a fingerprint (Avro single object) or 00 and a schema id (Confluent)"
    )
