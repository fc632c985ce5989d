"""Whether records of one schema can become the arguments of another: judged once per schema.

Records are read as they were written and then validated against the worker's signature, so what
has to be settled beforehand is that every written type leads to the wanted one (Avro
specification, schema resolution) and that logical types agree: Avro itself lets a timestamp be
read as a plain number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}
# What fastavro turns into the same Python type, whatever the unit.
_KIN = {
    "timestamp-millis": "instant",
    "timestamp-micros": "instant",
    "time-millis": "time",
    "time-micros": "time",
}


class Resolution:
    """Compares the arguments of a writer schema with those of the worker's own."""

    def __init__(self, writer: dict[str, Any], reader: dict[str, Any]) -> None:
        self._writer, self._reader = _named(writer), _named(reader)
        self._w, self._r = args_of(writer), args_of(reader)

    def problems(self) -> list[str]:
        """Return a line for each field that cannot be resolved; none when all can."""
        return list(self._record(self._w, self._r, ""))

    def _record(self, w: Any, r: Any, path: str) -> Iterator[str]:
        written = {field["name"]: field["type"] for field in w["fields"]}
        for field in r["fields"]:
            here = f"{path}.{field['name']}".lstrip(".")
            if field["name"] in written:
                yield from self._compare(written[field["name"]], field["type"], here)

    def _compare(self, w: Any, r: Any, path: str) -> Iterator[str]:
        w, r = _resolved(w, self._writer), _resolved(r, self._reader)
        if isinstance(w, list):
            for branch in w:
                if branch != "null":
                    yield from self._compare(branch, r, path)
        elif isinstance(r, list):
            found = [list(self._compare(w, branch, path)) for branch in r if branch != "null"]
            if w != "null" and not any(not problems for problems in found):
                yield from (found[0] if found else [f"{path}: written as {_shown(w)}"])
        else:
            yield from self._compare_single(w, r, path)

    def _compare_single(self, w: Any, r: Any, path: str) -> Iterator[str]:
        kinds = _kind(w), _kind(r)
        if kinds == ("record", "record"):
            yield from self._record(w, r, path)
        elif kinds == ("array", "array"):
            yield from self._compare(w["items"], r["items"], f"{path}[]")
        elif kinds == ("map", "map"):
            yield from self._compare(w["values"], r["values"], f"{path}{{}}")
        elif not (_logical(w) == _logical(r) and (_logical(w) or _leads(*kinds))):
            yield f"{path}: written as {_shown(w)}, and the signature wants {_shown(r)}"


def args_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a job schema's arguments.

    Raises:
        KeyError: there is none.
    """
    for field in schema["fields"]:
        if field["name"] == "args" and isinstance(field["type"], dict):
            args: dict[str, Any] = field["type"]
            if args.get("type") == "record":
                return args
    raise KeyError("args")


def _named(node: Any, namespace: str = "") -> dict[str, Any]:
    """Return every named type of a schema by its full name."""
    found: dict[str, Any] = {}
    if isinstance(node, list):
        for item in node:
            found |= _named(item, namespace)
    elif isinstance(node, dict):
        if node.get("type") in ("record", "enum", "fixed"):
            name = node["name"]
            namespace = name.rpartition(".")[0] or node.get("namespace", namespace)
            found[name if "." in name or not namespace else f"{namespace}.{name}"] = node
            found[name] = node
        for part in ("type", "items", "values"):
            found |= _named(node.get(part), namespace)
        for field in node.get("fields", ()):
            found |= _named(field["type"], namespace)
    return found


def _resolved(node: Any, named: dict[str, Any]) -> Any:
    if isinstance(node, str):
        return named.get(node, node)
    if isinstance(node, dict) and isinstance(node["type"], (dict, list)):
        return _resolved(node["type"], named)
    return node


def _kind(node: Any) -> str:
    return str(node["type"] if isinstance(node, dict) else node)


def _logical(node: Any) -> str | None:
    """Return the logical type; an unknown one counts as none, as the specification says."""
    name = node.get("logicalType") if isinstance(node, dict) else None
    return _KIN.get(name, name) if name in (*_KIN, "date", "decimal") else None


def _leads(w: str, r: str) -> bool:
    return w == r or (w, r) in _PROMOTIONS


def _shown(node: Any) -> str:
    if not isinstance(node, dict):
        return str(node)
    return str(node.get("logicalType") or node["type"])
