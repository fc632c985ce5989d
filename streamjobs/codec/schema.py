"""A job's whole schema: the envelope that all jobs share around the job's own arguments."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from streamjobs.codec.forms import Form, Names, Unfit, field_schema
from streamjobs.codec.hints import form_of
from streamjobs.errors import DefinitionError
from streamjobs.job import JobDefinition, Parameter

_TEMPLATE = "job.avsc"


@dataclass(frozen=True)
class JobSchema:
    """The schema of one job.

    Attributes:
        text: as it is kept and exported: compact JSON, the same for the same code.
        json: the same as objects; not to be changed.
        forms: the form of each argument, by name, in the order of the signature.
    """

    text: str
    json: dict[str, Any]
    forms: dict[str, Form]


def job_schema(app: str, definition: JobDefinition) -> JobSchema:
    """Return the Avro schema of a job: the template's envelope, the signature's arguments.

    Raises:
        DefinitionError: a hint has no Avro form, or a default cannot be a default.
    """
    names = Names(definition.name)
    names.taken = {f"{definition.name}_{part}": part for part in ("args", "options")}
    forms, fields = {}, []
    for parameter in definition.parameters:
        form = form_of(parameter.hint, names, (parameter.name,))
        forms[parameter.name] = form
        fields.append(_field(definition.name, parameter, form))
    schema = _filled(template(), definition.name)
    schema["namespace"] = app.replace("-", "_")
    schema["fields"][-1]["type"]["fields"] = fields
    schema.pop("doc", None)
    return JobSchema(json.dumps(schema, separators=(",", ":")), schema, forms)


def _field(job: str, parameter: Parameter, form: Form) -> dict[str, Any]:
    try:
        return field_schema(parameter.name, form, parameter.default)
    except Unfit as error:
        raise DefinitionError(
            f"job {job!r}, parameter {parameter.name!r}: its default does not fit: {error}"
        ) from None


@cache
def _template_text() -> str:
    packaged = files("streamjobs") / "schemas" / _TEMPLATE
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    # An editable install: the folder stands beside the package.
    return (Path(__file__).parents[2] / "schemas" / _TEMPLATE).read_text(encoding="utf-8")


def template() -> dict[str, Any]:
    """Return a fresh copy of ``schemas/job.avsc``, whose names begin with APP and JOB."""
    loaded: dict[str, Any] = json.loads(_template_text())
    return loaded


def _filled(node: Any, job: str) -> Any:
    if isinstance(node, dict):
        return {
            key: job + value[3:]
            if key == "name" and (value == "JOB" or value.startswith("JOB_"))
            else _filled(value, job)
            for key, value in node.items()
        }
    return [_filled(item, job) for item in node] if isinstance(node, list) else node


def fingerprint(schema: str) -> bytes:
    """Return the CRC-64-AVRO of a schema's parsing canonical form: 8 bytes, little endian.

    The algorithm is the Avro specification's; it ignores documentation, defaults and logical types.
    """
    canonical = to_parsing_canonical_form(json.loads(schema))
    return bytes.fromhex(avro_fingerprint(canonical, "CRC-64-AVRO"))


def same_logical_types(a: str, b: str) -> bool:
    """Whether two schemas mean the same values by the same bytes.

    Two schemas of one fingerprint can differ in a logical type, a precision or a scale: the bytes
    of one decode as another value under the other, without an error.
    """
    return bool(_meaning(json.loads(a)) == _meaning(json.loads(b)))


_MEANING = ("logicalType", "precision", "scale")


def _meaning(node: Any) -> Any:
    if isinstance(node, list):
        return [_meaning(item) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("type")
    meaning: dict[str, Any] = {key: node[key] for key in _MEANING if key in node}
    if node.get("logicalType") == "decimal":
        meaning.setdefault("scale", 0)
    if isinstance(kind, (dict, list)):
        meaning["type"] = _meaning(kind)
    for part in ("fields", "items", "values"):
        if part in node:
            meaning[part] = _meaning(node[part])
    if not isinstance(kind, (dict, list)):
        meaning["type"] = kind
    return meaning["type"] if meaning.keys() == {"type"} else meaning


def without_envelope_types(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the envelope's logical types removed, for reading and writing.

    The id stays text and the time stays a number of microseconds: making objects of them costs as
    much as all the rest of a small job.
    """
    plain = copy.deepcopy(schema)
    for field in plain["fields"]:
        if field["name"] in ("id", "enqueued_at") and isinstance(field["type"], dict):
            field["type"].pop("logicalType", None)
    return plain
