"""What one type of argument is on the wire: its Avro schema, and the ways there and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import typing_extensions
from pydantic import ConfigDict

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
NO_DEFAULT = inspect.Parameter.empty
_SHOWN = 80


class Unfit(ValueError):
    """A value that has no place in a form.

    Attributes:
        path: where inside the argument, outermost first: field names, keys, positions.
    """

    def __init__(self, value: object, expected: str, path: tuple[str | int, ...] = ()) -> None:
        self.value, self.expected, self.path = value, expected, path
        super().__init__(f"{show_path(path)}got {show(value)}, expected {expected}")

    def below(self, step: str | int) -> Unfit:
        """Return the same problem as seen from one level further out."""
        return Unfit(self.value, self.expected, (step, *self.path))


class Inexpressible(Exception):
    """A default that Avro cannot carry: it stays on the Python side."""


@dataclass(frozen=True)
class Form:
    """One type of argument.

    Attributes:
        avro: its schema as JSON objects; a named type in full at first, then by its name.
        hint: what pydantic checks: the user's hint with the limits of the wire added.
        expected: what it takes, in words for an error.
        to_wire: makes of a Python value what fastavro writes, checking on the way.
        from_wire: makes of what fastavro read what pydantic validates into the Python value.
        from_text: makes of a CSV cell or a JSON value what pydantic validates; what it cannot
            make sense of it returns as it is, for pydantic to refuse.
        to_default: makes of a Python value its Avro default (JSON).
        direct: fastavro takes the checked Python value as it is; ``to_wire`` is not needed.
        plain: what fastavro read is the Python value; neither ``from_wire`` nor pydantic is needed.
        instances: holds instances that pydantic does not look into when they come from Python.
        inner: of ``X | None``, the form of X.
    """

    avro: Any
    hint: Any
    expected: str
    to_wire: Callable[[Any], Any]
    from_wire: Callable[[Any], Any]
    from_text: Callable[[Any], Any]
    to_default: Callable[[Any], Any]
    direct: bool = True
    plain: bool = False
    instances: bool = False
    inner: Form | None = None


@dataclass
class Names:
    """The named Avro types of one schema, which must not clash.

    Attributes:
        job: the job's name, which every named type begins with.
        taken: who has which name: a class, or the place of a Literal.
        forms: the forms of classes met so far.
        open: classes whose fields are being read: meeting one again is recursion.
    """

    job: str
    taken: dict[str, object] = field(default_factory=dict)
    forms: dict[type, Form] = field(default_factory=dict)
    open: list[type] = field(default_factory=list)


def field_schema(name: str, form: Form, default: Any = NO_DEFAULT) -> dict[str, Any]:
    """Return an Avro field, with its default where Avro can express it.

    The default of a union belongs to its first branch, so ``X | None`` is ``["null", X]`` unless
    its default is an X.

    Raises:
        Unfit: the default is no value of the form.
    """
    if default is not NO_DEFAULT:
        form.to_wire(default)
    if form.inner is None:
        schema = {"name": name, "type": form.avro}
        return schema if default is NO_DEFAULT else _with_default(schema, form, default)
    if default is NO_DEFAULT or default is None:
        return {"name": name, "type": form.avro, "default": None}
    flipped = _with_default({"name": name, "type": form.avro[::-1]}, form.inner, default)
    return flipped if "default" in flipped else {"name": name, "type": form.avro, "default": None}


def _with_default(schema: dict[str, Any], form: Form, default: Any) -> dict[str, Any]:
    try:
        return {**schema, "default": form.to_default(default)}
    except Inexpressible:
        return schema


def closed_dict(name: str, hints: dict[str, Any]) -> Any:
    """Return a TypedDict of exactly these keys for pydantic, which refuses ``typing``'s on 3.11."""
    made: Any = typing_extensions.TypedDict(name, hints)  # type: ignore[misc]
    made.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return made


def show(value: object) -> str:
    """Return a value and its type for a message, cut to a line."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        text = f"<unprintable: {type(error).__name__}>"
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "..."
    return text if value is None else f"{text} ({type(value).__name__})"


def show_path(path: tuple[str | int, ...]) -> str:
    """Return ``street.lines[0]: `` for a path inside an argument; nothing for an empty one."""
    text = "".join(f"[{s!r}]" if isinstance(s, int) else f".{s}" for s in path).lstrip(".")
    return f"{text}: " if text else ""


def same(value: Any) -> Any:
    """Return the value: the conversion that is none."""
    return value
