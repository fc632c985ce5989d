"""Limits before fastavro: what a writer schema may be, and what the bytes under it may say.

fastavro makes 50 million items of five bytes when the items are null, takes a negative enum or
union index from the end of the list, and lets a recursive schema run the interpreter out of its
stack. So schemas are judged once, when they are loaded, and bytes are walked once beforehand
wherever the schema has more than numbers and text, which fastavro reads safely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamjobs.wording import counted

MAX_SCHEMA_TEXT = 1 << 20
MAX_DEPTH = 32
MAX_PARTS = 4096
_MAX_VARINT = 10
_DAY_MICROS = 86_400_000_000

Walk = Callable[[bytes, int], int]
_SAFE = frozenset({"long", "double", "string", "boolean", "bytes", "float", "int"})


class BadSchema(ValueError):
    """A writer schema that is not to be used."""


class BadBytes(ValueError):
    """Bytes that are no datum of their schema."""


def is_flat(fields: list[dict[str, Any]]) -> bool:
    """Whether every field is a plain number, truth value, text or bytes: no walk is needed."""
    return all(isinstance(f["type"], str) and f["type"] in _SAFE for f in fields)


@dataclass(frozen=True, slots=True)
class _Type:
    """A compiled type: its walk, the fewest bytes of a datum, its parts and its depth in full."""

    walk: Walk
    least: int = 1
    parts: int = 1
    depth: int = 1


class Limits:
    """Judges one schema, and compiles the walk over its bytes.

    Args:
        schema: as objects.

    Attributes:
        walk: takes bytes and where a datum begins, returns where it ends; raises ``BadBytes``.

    Raises:
        BadSchema: it is recursive, too deep or too large, has arrays of items without bytes, or
            is no Avro schema.
    """

    def __init__(self, schema: Any) -> None:
        self._types: dict[str, _Type] = {}
        self._open: set[str] = set()
        try:
            self.walk = self._compile(schema, "", 0).walk
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadSchema(f"it is no Avro schema: {type(error).__name__} {error}") from error

    def _compile(self, node: Any, namespace: str, depth: int) -> _Type:
        if depth > MAX_DEPTH:
            raise BadSchema(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(node, list):
            return self._union(node, namespace, depth)
        if isinstance(node, str):
            return _PRIMITIVES[node] if node in _PRIMITIVES else self._named(node, namespace)
        if node["type"] in ("array", "map"):
            return self._blocks(node, namespace, depth)
        if node["type"] in ("record", "error", "enum", "fixed"):
            return self._define(node, namespace, depth)
        if node.get("logicalType") == "time-micros" and node["type"] == "long":
            return _Type(_time_of_day)
        return self._compile(node["type"], namespace, depth + 1)

    def _named(self, name: str, namespace: str) -> _Type:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full in self._open:
            raise BadSchema(f"type {full!r} contains itself")
        if full not in self._types:
            raise BadSchema(f"type {full!r} is not defined")
        return self._types[full]

    def _define(self, node: Any, namespace: str, depth: int) -> _Type:
        kind, name = node["type"], node["name"]
        namespace = name.rpartition(".")[0] if "." in name else node.get("namespace", namespace)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full in self._open or full in self._types:
            raise BadSchema(f"type {full!r} is defined twice")
        self._open.add(full)
        if kind == "enum":
            made = _Type(_index(len(node["symbols"])))
        elif kind == "fixed":
            made = _fixed(node["size"])
        else:
            made = self._record(node["fields"], namespace, depth)
        self._open.discard(full)
        self._types[full] = made
        return made

    def _record(self, fields: list[Any], namespace: str, depth: int) -> _Type:
        made = [self._compile(field["type"], namespace, depth + 1) for field in fields]
        walks = [part.walk for part in made]

        def record(data: bytes, at: int) -> int:
            for walk in walks:
                at = walk(data, at)
            return at

        return _limited(record, sum(part.least for part in made), made)

    def _union(self, branches: list[Any], namespace: str, depth: int) -> _Type:
        made = [self._compile(branch, namespace, depth + 1) for branch in branches]
        walks = [part.walk for part in made]

        def union(data: bytes, at: int) -> int:
            which, at = _long(data, at)
            if not 0 <= which < len(walks):
                raise BadBytes(f"union index {which} of {len(walks)} branches")
            return walks[which](data, at)

        return _limited(union, 1 + min((part.least for part in made), default=0), made)

    def _blocks(self, node: Any, namespace: str, depth: int) -> _Type:
        key = _text if node["type"] == "map" else None
        items = self._compile(node["values" if key else "items"], namespace, depth + 1)
        if items.least == 0 and key is None:
            raise BadSchema("it has an array whose items take no bytes")
        return _limited(_over_blocks(key, items.walk), 1, [items])


def _limited(walk: Walk, least: int, made: list[_Type]) -> _Type:
    """Return the type of these parts, unless it is too deep or too large when written out.

    A small schema can name a record twice in the next, and that twice in the next: without
    bytes to stop at, thirty such levels take as long as a billion fields.
    """
    parts = 1 + sum(part.parts for part in made)
    depth = 1 + max((part.depth for part in made), default=0)
    if parts > MAX_PARTS:
        raise BadSchema(f"it has more than {MAX_PARTS:,} parts")
    if depth > MAX_DEPTH:
        raise BadSchema(f"it is nested more than {MAX_DEPTH} deep")
    return _Type(walk, least, parts, depth)


def _over_blocks(key: Walk | None, walk: Walk) -> Walk:
    def blocks(data: bytes, at: int) -> int:
        while True:
            count, at = _long(data, at)
            if count == 0:
                return at
            end = None
            if count < 0:
                size, at = _long(data, at)
                count, end = -count, at + size
            # Each item takes a byte or more.
            if count > len(data) - at:
                raise BadBytes(f"{counted(count, 'item')} in {counted(len(data) - at, 'byte')}")
            for _ in range(count):
                at = walk(data, at if key is None else key(data, at))
            if end is not None and at != end:
                raise BadBytes(
                    f"a block of {counted(count, 'item')} does not have the size it says"
                )

    return blocks


def walk_all(walk: Walk, data: bytes, at: int) -> None:
    """Walk over the datum that begins at ``at`` and ends where the bytes end.

    Raises:
        BadBytes: it is no datum, or bytes are left over.
    """
    end = walk(data, at)
    if end != len(data):
        raise BadBytes(f"{counted(len(data) - end, 'byte is', 'bytes are')} left over")


def _long(data: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint (Avro specification, binary encoding)."""
    if at < len(data) and (first := data[at]) < 0x80:
        return (first >> 1) ^ -(first & 1), at + 1
    value = shift = 0
    for byte in data[at : at + _MAX_VARINT]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                raise BadBytes("a number of more than 64 bits")
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise BadBytes("a number is cut short" if shift < 70 else "a number of more than 10 bytes")


def _number(data: bytes, at: int) -> int:
    return _long(data, at)[1]


def _int(data: bytes, at: int) -> int:
    value, at = _long(data, at)
    if not -(2**31) <= value < 2**31:
        raise BadBytes(f"an int of {value:,} does not fit 32 bits")
    return at


def _time_of_day(data: bytes, at: int) -> int:
    value, at = _long(data, at)
    if not 0 <= value < _DAY_MICROS:
        raise BadBytes(f"a time of day of {value:,} microseconds")
    return at


def _text(data: bytes, at: int) -> int:
    length, at = _long(data, at)
    if not 0 <= length <= len(data) - at:
        raise BadBytes(
            f"a length of {length:,} where {counted(len(data) - at, 'byte is', 'bytes are')} left"
        )
    return at + length


def _boolean(data: bytes, at: int) -> int:
    if data[at : at + 1] not in (b"\x00", b"\x01"):
        raise BadBytes(f"{data[at : at + 1].hex() or 'nothing'} is neither true nor false")
    return at + 1


def _take(size: int) -> Walk:
    def take(data: bytes, at: int) -> int:
        if size > len(data) - at:
            raise BadBytes(f"{counted(size, 'byte')} expected, {len(data) - at} left")
        return at + size

    return take


def _fixed(size: Any) -> _Type:
    if type(size) is not int or size < 0:
        raise BadSchema(f"it has a fixed of size {size!r}")
    return _Type(_take(size), size)


def _index(count: int) -> Walk:
    def index(data: bytes, at: int) -> int:
        which, at = _long(data, at)
        if not 0 <= which < count:
            raise BadBytes(f"enum index {which} of {count} symbols")
        return at

    return index


_PRIMITIVES: dict[str, _Type] = {
    "null": _Type(lambda _data, at: at, 0),
    "boolean": _Type(_boolean),
    "int": _Type(_int),
    "long": _Type(_number),
    "float": _Type(_take(4), 4),
    "double": _Type(_take(8), 8),
    "bytes": _Type(_text),
    "string": _Type(_text),
}
