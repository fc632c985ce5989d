"""Type hints to Avro: the table of what a job's argument may be, and nothing else.

The same hints give the same schema, byte for byte: it is a contract with other programs. What
has no Avro form is refused while decorating, with the parameter, the hint and a remedy.
"""

from __future__ import annotations

import enum
import json
import operator
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from streamjobs.codec.forms import Form, Inexpressible, Names, Unfit
from streamjobs.codec.records import is_record, record
from streamjobs.codec.scalars import SYMBOL, decimal, enumeration, literal, scalar
from streamjobs.errors import DefinitionError

_TABLE = (
    "use int, float, str, bool, bytes, Annotated[Decimal, Field(max_digits=P, decimal_places=S)], "
    "datetime, date, time, timedelta, UUID, an Enum, a Literal of strings, X | None, list[X], "
    "dict[str, X], or a dataclass, TypedDict or pydantic model of these"
)


def form_of(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    """Return the form of a type hint.

    Args:
        hint: as resolved by ``typing.get_type_hints(..., include_extras=True)``.
        names: the named types of the schema so far; grows.
        place: the parameter's name, then the fields down to the hint.

    Raises:
        DefinitionError: the hint, or one inside it, has no Avro form.
    """
    compose = _GENERICS.get(get_origin(hint))
    if compose is not None:
        return compose(hint, names, place)
    if hint is Decimal:
        remedy = "say its size: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]"
        raise refusal(hint, names, place, remedy)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _once(hint, names, place, lambda: _enum(hint, names, place))
    if is_record(hint):
        return _once(hint, names, place, lambda: record(hint, names, place, form_of))
    single = scalar(hint)
    if single is None:
        raise refusal(hint, names, place, _TABLE)
    return single


def refusal(hint: Any, names: Names, place: tuple[str, ...], remedy: str) -> DefinitionError:
    """Return the error for a hint that cannot be, naming job, parameter, hint and remedy."""
    inside = f" (in {'.'.join(place[1:])})" if len(place) > 1 else ""
    shown = hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else repr(hint)
    return DefinitionError(
        f"job {names.job!r}, parameter {place[0]!r}{inside}: {shown} has no Avro form; {remedy}"
    )


def claim(cls: Any, name: str, names: Names, place: tuple[str, ...]) -> str:
    """Give a named type its name: the job's, an underscore, its own.

    Raises:
        DefinitionError: the name is no Avro name, or another type of this job has it.
    """
    full = f"{names.job}_{name}"
    if not SYMBOL.fullmatch(name):
        raise refusal(cls, names, place, f"its name {name!r} must be of ASCII letters, digits, '_'")
    if full in names.taken:
        raise refusal(cls, names, place, f"another type of this job is {full!r} already: rename it")
    names.taken[full] = cls
    return full


def _once(hint: type, names: Names, place: tuple[str, ...], make: Callable[[], Form]) -> Form:
    """Make the form of a class where it first stands; later it goes by its name."""
    if hint in names.open:
        raise refusal(hint, names, place, "it contains itself: records on the wire are finite")
    if hint not in names.forms:
        claim(hint, hint.__name__, names, place)
        names.open.append(hint)
        names.forms[hint] = make()
        names.open.pop()
        return names.forms[hint]
    return replace(names.forms[hint], avro=names.forms[hint].avro["name"])


def _enum(cls: type[enum.Enum], names: Names, place: tuple[str, ...]) -> Form:
    if issubclass(cls, enum.Flag):
        raise refusal(cls, names, place, "a Flag combines members: use int, or a list of an Enum")
    _check_symbols(cls, [member.name for member in cls], names, place)
    return enumeration(cls, f"{names.job}_{cls.__name__}")


def _literal(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    symbols = list(get_args(hint))
    if not all(isinstance(symbol, str) for symbol in symbols):
        remedy = "only a Literal of strings has one; Literal[...] | None for an optional one"
        raise refusal(hint, names, place, remedy)
    _check_symbols(hint, symbols, names, place)
    return literal(hint, symbols, claim(hint, "_".join(place), names, place))


def _check_symbols(hint: Any, symbols: list[str], names: Names, place: tuple[str, ...]) -> None:
    if not symbols:
        raise refusal(hint, names, place, "it has no members")
    for symbol in symbols:
        if not SYMBOL.fullmatch(symbol):
            remedy = f"{symbol!r} is no Avro symbol: ASCII letters, digits and '_', no digit first"
            raise refusal(hint, names, place, remedy)


def _annotated(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    inner, *metadata = get_args(hint)
    if inner is Decimal:
        form = _decimal(hint, metadata, names, place)
    else:
        form = form_of(inner, names, place)
    constrained = any(not isinstance(item, str) for item in metadata)
    checked = operator.getitem(Annotated, (form.hint, *metadata))
    return replace(form, hint=checked, plain=form.plain and not constrained)


def _decimal(hint: Any, metadata: list[Any], names: Names, place: tuple[str, ...]) -> Form:
    digits = places = None
    for item in _flat(metadata):
        digits = getattr(item, "max_digits", None) or digits
        places = getattr(item, "decimal_places", None) if places is None else places
    if digits is None or places is None or not 0 <= places <= digits:
        remedy = "give both, Field(max_digits=P, decimal_places=S), with P >= S >= 0"
        raise refusal(hint, names, place, remedy)
    return decimal(digits, places)


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        yield item
        yield from getattr(item, "metadata", ())


def _optional(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    members = [member for member in get_args(hint) if member is not type(None)]
    if len(members) != 1 or len(get_args(hint)) != 2:
        raise refusal(hint, names, place, "the only union is X | None: use two parameters or jobs")
    inner = form_of(members[0], names, place)
    if isinstance(inner.avro, list):
        raise refusal(hint, names, place, "None is in it twice: write X | None once")

    def unless_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: None if value is None else convert(value)

    def from_text(value: Any) -> Any:
        return None if value is None or value == "" else inner.from_text(value)

    def to_default(value: Any) -> Any:
        if value is not None:
            raise Inexpressible
        return None

    return replace(
        inner,
        avro=["null", inner.avro],
        hint=inner.hint | None if isinstance(inner.hint, type) else Union[inner.hint, None],  # noqa: UP007
        expected=f"{inner.expected}, or None",
        to_wire=unless_none(inner.to_wire),
        from_wire=unless_none(inner.from_wire),
        from_text=from_text,
        to_default=to_default,
        inner=inner,
    )


def _array(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    inner = form_of(get_args(hint)[0], names, place)

    def each(convert: Callable[[Any], Any], values: Any) -> Any:
        if not isinstance(values, list):
            raise Unfit(values, expected)
        return [_step(convert, value, at) for at, value in enumerate(values)]

    expected = f"a list, each item {inner.expected}"
    return replace(
        inner,
        avro={"type": "array", "items": inner.avro},
        hint=list.__class_getitem__(inner.hint),
        expected=expected,
        to_wire=lambda values: each(inner.to_wire, values),
        from_wire=lambda values: each(inner.from_wire, values),
        from_text=lambda values: each(inner.from_text, _unquote(values, "[")),
        to_default=lambda values: each(inner.to_default, values),
        inner=None,
    )


def _mapping(hint: Any, names: Names, place: tuple[str, ...]) -> Form:
    key, value = get_args(hint)
    if key is not str:
        raise refusal(hint, names, place, "the keys of a map are text: use dict[str, X]")
    keys, inner = form_of(str, names, place), form_of(value, names, place)

    def each(convert: Callable[[Any], Any], values: Any) -> Any:
        if not isinstance(values, dict):
            raise Unfit(values, expected)
        return {keys.to_wire(k): _step(convert, value, k) for k, value in values.items()}

    expected = f"a dict by text, each value {inner.expected}"
    return replace(
        inner,
        avro={"type": "map", "values": inner.avro},
        hint=dict.__class_getitem__((keys.hint, inner.hint)),
        expected=expected,
        to_wire=lambda values: each(inner.to_wire, values),
        from_wire=lambda values: each(inner.from_wire, values),
        from_text=lambda values: each(inner.from_text, _unquote(values, "{")),
        to_default=lambda values: each(inner.to_default, values),
        inner=None,
    )


def _step(convert: Callable[[Any], Any], value: Any, at: str | int) -> Any:
    try:
        return convert(value)
    except Unfit as error:
        raise error.below(at) from None


def _unquote(value: Any, opening: str) -> Any:
    """Read a list or dict that stands as JSON in a CSV cell."""
    if not isinstance(value, str) or not value.lstrip().startswith(opening):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


_GENERICS: dict[Any, Callable[[Any, Names, tuple[str, ...]], Form]] = {
    Annotated: _annotated,
    Union: _optional,
    types.UnionType: _optional,
    Literal: _literal,
    list: _array,
    dict: _mapping,
}
