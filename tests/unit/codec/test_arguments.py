"""Calls against the signature: exact from Python, understanding from CSV and JSON."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from streamjobs.codec import Encoder
from streamjobs.errors import InvalidArguments

Money = Annotated[Decimal, Field(max_digits=6, decimal_places=2)]


class Colour(enum.Enum):
    RED = "rouge"
    GREEN = "vert"


@dataclass
class Line:
    sku: str
    count: Annotated[int, Field(ge=0)] = 1
    price: Money | None = None


@dataclass
class LongLine(Line):
    extra: str = ""


class Address(TypedDict):
    street: str
    zip: int | None


class Order(BaseModel):
    number: int
    lines: list[Line] = []


def send(customer_id: int, template: str = "welcome", share: float = 1.0) -> None: ...


def encoder_for(codec: Any, hint: Any) -> Encoder:
    def job(x: Any) -> None: ...

    job.__annotations__["x"] = hint
    return codec.define(job)  # type: ignore[no-any-return]


def problems(encoder: Encoder, args: Any, *, lax: bool = False) -> tuple[str, ...]:
    with pytest.raises(InvalidArguments) as caught:
        encoder.check(args, lax=lax)
    return caught.value.problems


def test_defaults_are_filled_in_and_the_order_is_the_signatures(codec: Any) -> None:
    encoder = codec.define(send)

    checked = encoder.check(MappingProxyType({"share": 2, "customer_id": 7}))

    assert list(checked.items()) == [("customer_id", 7), ("template", "welcome"), ("share", 2.0)]
    assert type(checked["share"]) is float


@pytest.mark.parametrize("lax", [False, True])
def test_d47_missing_extra_and_wrong_arguments_are_named_together(codec: Any, lax: bool) -> None:
    encoder = codec.define(send)

    found = problems(encoder, {"template": 5, "share": "x", "color": "red"}, lax=lax)

    assert sorted(problem.split(":")[0] for problem in found) == [
        "color",
        "customer_id",
        "share",
        "template",
    ]
    text = "; ".join(found)
    assert "customer_id: missing, expected a whole number" in text
    assert "template: got 5 (int), expected text" in text
    assert "color: no such parameter, got 'red' (str); it takes customer_id, template" in text


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, True),
        (int, "7"),
        (int, 7.0),
        (int, None),
        (int, 2**63),
        (int, -(2**63) - 1),
        (int, 10**400),
        (list[int], [1, 2**63]),
        (float, "1"),
        (float, True),
        (float, 10**400),
        (str, b"x"),
        (str, 7),
        (str, "\ud800"),
        (bool, 1),
        (bool, "true"),
        (bytes, "x"),
        (Money, 1.5),
        (Money, "1.50"),
        (Money, Decimal("NaN")),
        (Money, Decimal("Infinity")),
        (Money, Decimal("0.001")),
        (Money, Decimal("12345.00")),
        (Money, Decimal("1E+5")),
        (datetime, datetime(2024, 1, 1)),  # noqa: DTZ001 - naive is the point
        (datetime, "2024-01-01T00:00:00Z"),
        (datetime, date(2024, 1, 1)),
        (date, datetime(2024, 1, 1, tzinfo=UTC)),
        (date, "2024-01-01"),
        (time, time(1, tzinfo=UTC)),
        (time, "01:00"),
        (timedelta, 5),
        (timedelta, timedelta.max),
        (UUID, "0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11"),
        (Colour, "RED"),
        (Colour, "rouge"),
        (Literal["low", "high"], "mid"),
        (int | None, "7"),
        (list[int], (1, 2)),
        (list[int], [1, "2"]),
        (dict[str, int], {1: 1}),
        (dict[str, int], {"a": True}),
        (dict[str, int], {"\ud800": 1}),
        (Line, Line("\ud800")),
        (Line, {"sku": "x"}),
        (Line, LongLine("x", extra="would be lost")),
        (Line, Line("x", -1)),
        (Line, Line(5)),  # type: ignore[arg-type]
        (Line, Line("x", count=True)),
        (Line, Line("x", 2**63)),
        (Line, Line("x", price=Decimal("0.001"))),
        (list[Line], [Line("x"), Line("y", -1)]),
        (Address, {"street": "x"}),
        (Address, {"street": "x", "zip": 1, "more": 2}),
        (Address, {"street": "x", "zip": "1"}),
        (Order, Order.model_construct(number="x")),  # type: ignore[arg-type]
        (Order, Order(number=1, lines=[Line("x", -1)])),
    ],
)
def test_d47_types_are_exact_from_python(codec: Any, hint: Any, value: Any) -> None:
    (problem,) = problems(encoder_for(codec, hint), {"x": value})

    assert problem.startswith(("x:", "x.", "x["))
    assert "got " in problem


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 2**63 - 1),
        (int, -(2**63)),
        (float, 7),
        (Money, Decimal("9999.99")),
        (Money, Decimal("1E+3")),
        (Money, Decimal("-0.10")),
        (Line, Line("x", 2, Decimal("1.5"))),
        (Address, {"street": "x", "zip": None}),
        (Order, Order(number=1, lines=[Line("x")])),
        (datetime, datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5)))),
    ],
)
def test_what_passes_the_check_decodes(codec: Any, hint: Any, value: Any) -> None:
    encoder_for(codec, hint)

    assert codec.round_trip("job", x=value) == {"x": value}


@pytest.mark.parametrize(
    ("hint", "given", "made"),
    [
        (int, "7", 7),
        (int, " 7 ", 7),
        (int, 7.0, 7),
        (float, "2.5", 2.5),
        (str, "7", "7"),
        (str, "", ""),
        (bool, "true", True),
        (bool, "0", False),
        (bytes, "/w==", b"\xff"),
        (Money, "12.50", Decimal("12.50")),
        (Money, 12.5, Decimal("12.5")),
        (datetime, "2013-01-01T05:00:00Z", datetime(2013, 1, 1, 5, tzinfo=UTC)),
        (datetime, "2013-01-01 05:00+00:00", datetime(2013, 1, 1, 5, tzinfo=UTC)),
        (date, "2013-01-01", date(2013, 1, 1)),
        (time, "05:15", time(5, 15)),
        (timedelta, "90", timedelta(seconds=90)),
        (timedelta, "PT1M30S", timedelta(seconds=90)),
        (timedelta, 1.5, timedelta(seconds=1.5)),
        (UUID, "0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11", UUID("0a7f2f9e9c0e4d2b8f8c8d7d4f9f3a11")),
        (Colour, "RED", Colour.RED),
        (Literal["low", "high"], "low", "low"),
        (int | None, "", None),
        (int | None, "7", 7),
        (str | None, "", None),
        (Colour | None, "GREEN", Colour.GREEN),
        (list[int], ["1", 2], [1, 2]),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, Colour], '{"a": "RED"}', {"a": Colour.RED}),
        (Line, {"sku": "x", "count": "2", "price": ""}, Line("x", 2)),
        (Line, '{"sku": "x"}', Line("x")),
        (list[Line], [{"sku": "x"}], [Line("x")]),
        (Address, {"street": "s", "zip": ""}, {"street": "s", "zip": None}),
        (Order, {"number": "1", "lines": [{"sku": "x"}]}, Order(number=1, lines=[Line("x")])),
    ],
)
def test_text_from_outside_becomes_the_hints_type(
    codec: Any, hint: Any, given: Any, made: Any
) -> None:
    checked = encoder_for(codec, hint).check({"x": given}, lax=True)

    assert checked == {"x": made}
    assert type(checked["x"]) is type(made)


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (int, ""),
        (int, "seven"),
        (int, True),
        (int, 7.5),
        (int, str(2**63)),
        (float, True),
        (bool, "perhaps"),
        (bytes, "no base64!"),
        (Money, "0.001"),
        (Money, True),
        (datetime, "2013-01-01T05:00:00"),
        (datetime, 1_700_000_000),
        (datetime, "1700000000"),
        (date, 5),
        (time, "25:00"),
        (timedelta, True),
        (timedelta, "soon"),
        (timedelta, "nan"),
        (timedelta, "1e300"),
        (UUID, "x"),
        (Colour, "rouge"),
        (Colour, 1),
        (Literal["low", "high"], "LOW"),
        (list[int], "1,2"),
        (list[int], "[1,"),
        (list[int], ["1", "x"]),
        (dict[str, int], "x"),
        (Line, "x"),
        (Line, {"count": 1}),
        (Line, {"sku": "x", "count": -1}),
        (Address, {"street": "s", "zip": 1, "more": 2}),
        (Order, {"number": "x"}),
    ],
)
def test_text_that_does_not_fit_is_named(codec: Any, hint: Any, given: Any) -> None:
    (problem,) = problems(encoder_for(codec, hint), {"x": given}, lax=True)

    assert problem.startswith(("x:", "x.", "x["))


def test_a_problem_inside_a_structure_tells_where(codec: Any) -> None:
    (problem,) = problems(encoder_for(codec, list[Order]), {"x": [Order(number=2**63)]})
    assert problem.startswith("x[0].number: got 9223372036854775808 (int)")


def test_long_values_are_cut_in_the_message(codec: Any) -> None:
    (problem,) = problems(encoder_for(codec, int), {"x": "y" * 10_000})
    assert len(problem) < 300


def test_a_mutable_default_is_not_shared_between_calls(codec: Any) -> None:
    def job(tags: list[str] = [], line: Line = LINE) -> None: ...  # noqa: B006

    encoder = codec.define(job)

    first, second = encoder.check({}), encoder.check({})
    first["tags"].append("mine")

    assert second == {"tags": [], "line": LINE}
    assert first["line"] is not LINE


LINE = Line("x")


def test_what_describe_tells_can_be_enqueued_again(codec: Any) -> None:
    def job(
        took: timedelta, price: Money, colour: Colour, raw: bytes, lines: list[Line]
    ) -> None: ...

    encoder = codec.define(job)
    args = {
        "took": timedelta(days=-3, microseconds=1),
        "price": Decimal("1.50"),
        "colour": Colour.GREEN,
        "raw": b"\xff\x00",
        "lines": [Line("x", 2)],
    }

    told = codec.decoder.describe(codec.encode("job", args)).args

    assert encoder.check(told, lax=True) == args
