"""Calls to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_writer

from streamjobs.codec.arguments import Arguments
from streamjobs.codec.ids import is_id
from streamjobs.codec.layout import OPTIONS, TIME, body_schema, head
from streamjobs.codec.schema import job_schema, without_envelope_types
from streamjobs.job import JobDefinition


class Encoder:
    """Checks and encodes the calls of one job; safe from every thread.

    Args:
        app: the app's name.
        definition: the job.

    Attributes:
        schema: the job's Avro schema, the same text for the same code.
        name: its full Avro name, ``APP.JOB``.
        arguments: the job's compiled checks.

    Raises:
        DefinitionError: a hint has no Avro form, or a default does not fit its hint.
    """

    def __init__(self, app: str, definition: JobDefinition) -> None:
        built = job_schema(app, definition)
        self.schema = built.text
        self.name = f"{built.json['namespace']}.{built.json['name']}"
        self.arguments = Arguments(definition, built.forms)
        plain = without_envelope_types(built.json)
        self._job = definition.name
        self._whole = parse_schema(plain)
        self._body = parse_schema(body_schema(plain))
        self._head = head(definition.name)

    def check(self, args: Mapping[str, Any], *, lax: bool = False) -> dict[str, Any]:
        """Return the arguments in the signature's order, checked, defaults filled in.

        Args:
            args: by name.
            lax: take text for what it says, as from CSV and JSON; else types are exact.

        Raises:
            InvalidArguments: naming every missing, unknown and wrong argument.
        """
        return self.arguments.from_text(args) if lax else self.arguments.from_python(args)

    def encode(
        self,
        prefix: bytes,
        args: Mapping[str, Any],
        *,
        id: str,  # noqa: A002 - the envelope's word
        enqueued_at: int,
        options: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the record's value.

        Args:
            prefix: what the schema store gave for ``schema``.
            args: as ``check`` returned them.
            id: a UUID as canonical text.
            enqueued_at: microseconds since the epoch.
            options: the envelope's optional part, by field; what is not given is absent.

        Raises:
            ValueError: the id is no canonical UUID.
        """
        if not is_id(id):
            raise ValueError(f"job id {id!r} is no UUID in lower-case text")
        wire = args if self.arguments.direct else self.arguments.to_wire(args)
        out = BytesIO()
        if options is None:
            out.write(prefix + self._head % id.encode())
            schemaless_writer(out, self._body, {TIME: enqueued_at, OPTIONS: False, **wire})
        else:
            out.write(prefix)
            record = {"id": id, "job": self._job, "enqueued_at": enqueued_at}
            schemaless_writer(out, self._whole, {**record, "options": options, "args": wire})
        return out.getvalue()
