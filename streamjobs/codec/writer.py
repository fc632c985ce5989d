"""One writer schema, judged and made ready: how to read the records that were written with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException, UnknownType

from streamjobs.codec.ids import is_id
from streamjobs.codec.layout import body_schema, head_pattern
from streamjobs.codec.limits import MAX_SCHEMA_TEXT, BadSchema, Limits, Walk, is_flat, walk_all
from streamjobs.codec.resolve import args_of
from streamjobs.codec.schema import template, without_envelope_types
from streamjobs.errors import InvalidRecord
from streamjobs.job import check_job_name

# Microseconds since 1970 of 0001-01-01 and of the end of 9999: what a datetime can say.
_CALENDAR = range(-62_135_596_800_000_000, 253_402_300_800_000_000)

read_datum = cast("Callable[[BytesIO, Any, None], dict[str, Any]]", schemaless_reader)
"""fastavro's reader, for schemas that are records."""


class Writer:
    """A writer schema.

    Args:
        prefix: the bytes that refer to it.
        text: the schema.

    Attributes:
        prefix: as given.
        start: where the Avro datum begins.
        job: the job's name.
        schema: as objects, without the envelope's logical types.
        match: finds the fixed layout of a job without options; None where the envelope is
            another release's.
        body: the flat record after the id and the name, for fastavro.
        walk: over the arguments, before fastavro may see them; None where they need none.

    Raises:
        InvalidRecord: the schema is no job's, or not to be used.
    """

    def __init__(self, prefix: bytes, text: str) -> None:
        self.prefix, self.start = prefix, len(prefix)
        try:
            schema = _loaded(text)
            self._walk_all = Limits(schema).walk
            self.schema = _job_schema(schema)
            self._whole = parse_schema(self.schema)
        except (ValueError, LookupError, TypeError, SchemaParseException) as error:
            problem = f"the writer schema {prefix.hex()} cannot be used: {error}"
            raise InvalidRecord(problem) from error
        self.job: str = self.schema["name"].rpartition(".")[2]
        self.match: Callable[[bytes, int], re.Match[bytes] | None] | None = None
        self.body: Any = None
        self.walk: Walk | None = None
        if _has_our_envelope(self.schema):
            self._find_short_cut()

    def _find_short_cut(self) -> None:
        fields = args_of(self.schema)["fields"]
        try:
            body = parse_schema(body_schema(self.schema))
            if not is_flat(fields):
                self.walk = Limits({**self.schema, "fields": fields}).walk
        except (BadSchema, SchemaParseException, UnknownType):
            return  # the arguments use a type of the envelope: rare, and read the long way
        self.body, self.match = body, head_pattern(self.job).match

    def same_arguments(self, own: dict[str, Any]) -> bool:
        """Whether the arguments are written exactly as a job's own schema has them."""
        mine, theirs = args_of(self.schema)["fields"], args_of(own)["fields"]
        return [(f["name"], f["type"]) for f in mine] == [(f["name"], f["type"]) for f in theirs]

    def read(self, value: bytes) -> dict[str, Any]:
        """Walk over the whole datum, then read it.

        Raises:
            InvalidRecord: it is no datum of the schema, bytes are left over, or the envelope
                is not that of the schema's job.
        """
        try:
            walk_all(self._walk_all, value, self.start)
            stream = BytesIO(value)
            stream.seek(self.start)
            record = read_datum(stream, self._whole, None)
        except Exception as error:
            raise self.unreadable(error) from error
        if record["job"] != self.job:
            raise InvalidRecord(f"a job named {record['job']!r} under the schema of {self.job!r}")
        if not is_id(record["id"]):
            raise InvalidRecord(f"job {self.job!r}: the id {record['id']!r} is no lower-case UUID")
        if record["enqueued_at"] not in _CALENDAR:
            micros = record["enqueued_at"]
            raise InvalidRecord(f"job {self.job!r}: enqueued_at {micros:,} is in no year 1 to 9999")
        return record

    def unreadable(self, error: Exception) -> InvalidRecord:
        """Return the error for bytes that could not be read."""
        return InvalidRecord(f"job {self.job!r}: {type(error).__name__}: {error}")


def _loaded(text: str) -> Any:
    if len(text) > MAX_SCHEMA_TEXT:
        raise BadSchema(f"it has {len(text):,} characters, the most is {MAX_SCHEMA_TEXT:,}")
    try:
        return json.loads(text)
    except RecursionError:
        raise BadSchema("it is nested too deep") from None


def _job_schema(schema: Any) -> dict[str, Any]:
    """Return the schema without the envelope's logical types, if it is a job's."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise BadSchema("it is no record, so no job's")
    check_job_name(schema["name"].rpartition(".")[2])
    plain = without_envelope_types(schema)
    kinds = {field["name"]: field["type"] for field in plain["fields"]}
    for name, kind in (("id", "string"), ("job", "string"), ("enqueued_at", "long")):
        if kinds.get(name) not in (kind, {"type": kind}):
            raise BadSchema(f"it has no field {name!r} of type {kind}, so it is no job's")
    if "args" not in kinds:
        raise BadSchema("it has no field 'args', so it is no job's")
    args_of(plain)
    return plain


def _has_our_envelope(schema: dict[str, Any]) -> bool:
    ours = [field["name"] for field in template()["fields"]]
    options = schema["fields"][3]["type"] if len(schema["fields"]) == len(ours) else None
    return (
        [field["name"] for field in schema["fields"]] == ours
        and isinstance(options, list)
        and options[0] == "null"
    )
