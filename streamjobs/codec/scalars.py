"""The forms of single values: numbers, text, bytes, dates and times, UUID, Enum, Literal."""

from __future__ import annotations

import base64
import binascii
import enum
import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, InstanceOf

from streamjobs.codec.forms import LONG_MAX, LONG_MIN, Form, Inexpressible, Unfit, same

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def scalar(hint: Any) -> Form | None:
    """Return the form of a hint that stands for a single value, or None when it is another."""
    make = _SCALARS.get(hint) if isinstance(hint, type) else None
    return make() if make else None


def _exactly(expected: str, *types: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) not in types:
            raise Unfit(value, expected)
        return value

    return convert


def _int() -> Form:
    expected = "a whole number from -2**63 to 2**63-1"

    def to_wire(value: Any) -> Any:
        if type(value) is not int or not LONG_MIN <= value <= LONG_MAX:
            raise Unfit(value, expected)
        return value

    hint = Annotated[int, Field(ge=LONG_MIN, le=LONG_MAX)]
    return Form("long", hint, expected, to_wire, same, _no_bool(expected), same, plain=True)


def _float() -> Form:
    expected = "a number"

    def to_wire(value: Any) -> Any:
        if type(value) is float:
            return value
        if type(value) is not int:
            raise Unfit(value, expected)
        return float(value)

    def to_default(value: Any) -> Any:
        if not math.isfinite(value):
            raise Inexpressible
        return float(value)

    return Form(
        "double", float, expected, to_wire, same, _no_bool(expected), to_default, plain=True
    )


def _no_bool(expected: str) -> Callable[[Any], Any]:
    def from_text(value: Any) -> Any:
        if isinstance(value, bool):
            raise Unfit(value, expected)
        return value

    return from_text


def _str() -> Form:
    expected = "text"

    def to_wire(value: Any) -> Any:
        if not isinstance(value, str):
            raise Unfit(value, expected)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unfit(value, "text without lone surrogates") from None
        return value

    # Under any constraint at all pydantic refuses lone surrogates, which have no UTF-8.
    hint = Annotated[str, Field(min_length=0)]
    return Form("string", hint, expected, to_wire, same, same, same, plain=True)


def _bool() -> Form:
    convert = _exactly("true or false", bool)
    return Form("boolean", bool, "true or false", convert, same, same, same, plain=True)


def _bytes() -> Form:
    expected = "bytes (base64 text from CSV or JSON)"

    def from_text(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Unfit(value, expected) from None

    def to_default(value: bytes) -> str:
        return value.decode("latin-1")

    convert = _exactly(expected, bytes)
    return Form("bytes", bytes, expected, convert, same, from_text, to_default, plain=True)


def decimal(digits: int, places: int) -> Form:
    """Return the form of a decimal of ``digits`` digits, ``places`` of them after the point."""
    expected = f"a decimal of at most {digits} digits, {places} of them after the point"
    avro = {"type": "bytes", "logicalType": "decimal", "precision": digits, "scale": places}

    def to_wire(value: Any) -> Any:
        if type(value) is not Decimal or not value.is_finite():
            raise Unfit(value, expected)
        if value and (value.adjusted() >= digits - places or _places(value) > places):
            raise Unfit(value, expected)
        return value

    def to_default(value: Decimal) -> str:
        unscaled = int(value.scaleb(places))
        return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True).decode(
            "latin-1"
        )

    hint = Annotated[Decimal, Field(max_digits=digits, decimal_places=places)]
    return Form(avro, hint, expected, to_wire, same, _no_bool(expected), to_default)


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _datetime() -> Form:
    expected = "a date and time with its time zone (ISO 8601)"
    avro = {"type": "long", "logicalType": "timestamp-micros"}

    def to_wire(value: Any) -> Any:
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise Unfit(value, expected)
        return value

    def to_default(value: datetime) -> int:
        return (value - _EPOCH) // _MICROSECOND

    hint = AwareDatetime
    from_text = _iso(expected, datetime)
    return Form(avro, hint, expected, to_wire, same, from_text, to_default, plain=True)


def _date() -> Form:
    expected = "a date (ISO 8601)"

    def to_default(value: date) -> int:
        return (value - _EPOCH.date()).days

    avro = {"type": "int", "logicalType": "date"}
    convert = _exactly(expected, date)
    from_text = _iso(expected, date)
    return Form(avro, date, expected, convert, same, from_text, to_default, plain=True)


def _time() -> Form:
    expected = "a time of day without a time zone (ISO 8601)"

    def to_wire(value: Any) -> Any:
        if not isinstance(value, time) or value.tzinfo is not None:
            raise Unfit(value, expected)
        return value

    def to_default(value: time) -> int:
        return _micros(timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour))

    avro = {"type": "long", "logicalType": "time-micros"}
    hint = Annotated[time, AfterValidator(to_wire)]
    from_text = _iso(expected, time)
    return Form(avro, hint, expected, to_wire, same, from_text, to_default, plain=True)


def _iso(expected: str, kind: type[datetime | date | time]) -> Callable[[Any], Any]:
    """Read ISO 8601 text only: pydantic would take bare numbers as seconds since 1970 as well."""

    def from_text(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise Unfit(value, expected)
        try:
            return kind.fromisoformat(value.strip())
        except ValueError:
            raise Unfit(value, expected) from None

    return from_text


def _timedelta() -> Form:
    expected = "a duration of less than 292,000 years (seconds or ISO 8601 from CSV or JSON)"

    def check(value: Any) -> Any:
        if not isinstance(value, timedelta) or not LONG_MIN <= _micros(value) <= LONG_MAX:
            raise Unfit(value, expected)
        return value

    def to_wire(value: Any) -> int:
        return _micros(check(value))

    def from_wire(value: Any) -> Any:
        return timedelta(microseconds=value) if type(value) is int else value

    no_bool = _no_bool(expected)

    def from_text(value: Any) -> Any:
        if not isinstance(value, str):
            return no_bool(value)
        try:
            return float(value)
        except ValueError:
            return value

    hint = Annotated[timedelta, AfterValidator(check)]
    return Form("long", hint, expected, to_wire, from_wire, from_text, _micros, direct=False)


def _micros(value: timedelta) -> int:
    return value // _MICROSECOND


def _uuid() -> Form:
    avro = {"type": "string", "logicalType": "uuid"}
    convert = _exactly("a UUID", UUID)
    return Form(avro, UUID, "a UUID", convert, same, same, str, plain=True)


_SCALARS: dict[Any, Callable[[], Form]] = {
    int: _int,
    float: _float,
    str: _str,
    bool: _bool,
    bytes: _bytes,
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
    UUID: _uuid,
}


def enumeration(cls: type[enum.Enum], name: str) -> Form:
    """Return the form of an Enum, its members going by their names."""
    symbols = [member.name for member in cls]
    expected = "one of " + ", ".join(symbols)

    def to_wire(value: Any) -> Any:
        if not isinstance(value, cls):
            raise Unfit(value, expected)
        return value.name

    def from_name(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or value not in cls.__members__:
            raise Unfit(value, expected)
        return cls[value]

    def to_default(value: Any) -> Any:
        return value.name

    avro = {"type": "enum", "name": name, "symbols": symbols}
    # By value, pydantic's way, would take what another program cannot know.
    hint: Any = operator.getitem(InstanceOf, cls)
    return Form(avro, hint, expected, to_wire, from_name, from_name, to_default, direct=False)


def literal(hint: Any, symbols: list[str], name: str) -> Form:
    """Return the form of a Literal of strings."""
    expected = "one of " + ", ".join(symbols)

    def convert(value: Any) -> Any:
        if not isinstance(value, str) or value not in symbols:
            raise Unfit(value, expected)
        return value

    avro = {"type": "enum", "name": name, "symbols": symbols}
    return Form(avro, hint, expected, convert, convert, convert, same, plain=True)
