"""What goes in comes out: every row of the table of hints, and the envelope around it."""

from __future__ import annotations

import enum
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from streamjobs.codec import Encoder, is_id, new_id

Money = Annotated[Decimal, Field(max_digits=9, decimal_places=2)]
LONGS = st.integers(-(2**63), 2**63 - 1)
OFFSETS = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Line:
    sku: str
    count: Annotated[int, Field(ge=0)] = 1
    notes: list[str] = field(default_factory=list)


class Address(TypedDict):
    street: str
    zip: int | None


class Order(BaseModel):
    number: int
    placed: datetime | None = None
    colour: Colour = Colour.RED
    lines: list[Line] = []


def flat(number: int, name: str, share: float, yes: bool, raw: bytes) -> None: ...


def rich(  # noqa: PLR0917 - one of each
    price: Money,
    at: datetime,
    day: date,
    hour: time,
    took: timedelta,
    uid: UUID,
    colour: Colour,
    size: Size,
    level: Literal["low", "high"],
    maybe: int | None,
    address: Address,
    order: Order,
    lines: list[Line],
    counts: dict[str, list[int]],
    other_colour: Colour | None = Colour.GREEN,
) -> None: ...


@given(
    number=LONGS, name=TEXT, share=st.floats(allow_nan=False), yes=st.booleans(), raw=st.binary()
)
def test_plain_arguments_come_back_as_they_went_in(codec_of: Any, **args: Any) -> None:
    assert codec_of(flat).round_trip("flat", **args) == args


@given(
    price=st.decimals(-9_999_999, 9_999_999, places=2),
    at=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS),  # noqa: DTZ001
    day=st.dates(),
    hour=st.times(),
    took=st.timedeltas(timedelta(days=-100_000_000), timedelta(days=100_000_000)),
    uid=st.uuids(),
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    level=st.sampled_from(["low", "high"]),
    maybe=st.none() | LONGS,
    line=st.builds(Line, TEXT, st.integers(0, 2**63 - 1), st.lists(TEXT)),
    counts=st.dictionaries(TEXT, st.lists(LONGS)),
)
def test_rich_arguments_come_back_as_they_went_in(codec_of: Any, line: Line, **args: Any) -> None:
    args |= {
        "address": {"street": line.sku, "zip": None},
        "order": Order(number=3, placed=args["at"], lines=[line]),
        "lines": [line, line],
        "other_colour": None,
    }

    back = codec_of(rich).round_trip("rich", **args)

    assert back == args
    assert type(back["order"]) is Order
    assert type(back["lines"][0]) is Line


def test_an_instant_comes_back_in_utc(codec: Any) -> None:
    def at_noon(at: datetime) -> None: ...

    codec.define(at_noon)
    local = datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    back = codec.round_trip("at_noon", at=local)["at"]

    assert back == local
    assert back.utcoffset() == timedelta(0)


def test_the_envelope_is_what_was_given(codec: Any) -> None:
    codec.define(flat)
    args = {"number": 1, "name": "n", "share": 1.0, "yes": True, "raw": b""}

    envelope = codec.decode(codec.encode("flat", args))

    assert (envelope.id, envelope.job) == ("0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11", "flat")
    assert envelope.enqueued_at == 1_700_000_000_000_000
    assert envelope.options is None


def test_options_travel_beside_the_arguments(codec: Any) -> None:
    def simple(number: int) -> None: ...

    codec.define(simple)
    given_options = {"timeout_ms": 500, "tags": {"team": "mail"}, "trace": {}}

    envelope = codec.decode(codec.encode("simple", {"number": 1}, given_options))

    assert envelope.args == {"number": 1}
    assert envelope.options is not None
    assert envelope.options["timeout_ms"] == 500
    assert envelope.options["tags"] == {"team": "mail"}
    assert envelope.options["expires_at"] is None


@pytest.mark.parametrize("enqueued_at", [0, -1, 2**48 - 1, 2**48, 2**55 - 1, 2**55, 10**17])
def test_any_time_of_enqueueing_decodes(codec: Any, enqueued_at: int) -> None:
    def simple(number: int) -> None: ...

    encoder = codec.define(simple)
    value = encoder.encode(
        codec.prefix(encoder), {"number": 5}, id=new_id(), enqueued_at=enqueued_at
    )

    envelope = codec.decode(value)

    assert (envelope.enqueued_at, envelope.args) == (enqueued_at, {"number": 5})


def test_a_job_without_parameters(codec: Any) -> None:
    def tick() -> None: ...

    codec.define(tick)

    assert codec.round_trip("tick") == {}


def test_a_record_decodes_with_fastavro_and_the_schema_text_alone(codec: Any) -> None:
    encoder: Encoder = codec.define(rich)
    day = date(2024, 2, 29)
    args: dict[str, Any] = {
        "price": Decimal("12.5"),
        "at": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "day": day,
        "hour": time(1, 2, 3, 4),
        "took": timedelta(seconds=1.5),
        "uid": UUID(int=7),
        "colour": Colour.GREEN,
        "size": Size.LARGE,
        "level": "low",
        "maybe": None,
        "address": {"street": "Main", "zip": 5},
        "order": Order(number=3),
        "lines": [Line("x", 2)],
        "counts": {"a": [1, 2]},
    }

    record = fastavro.schemaless_reader(
        BytesIO(codec.encode("rich", args)[10:]),
        fastavro.parse_schema(json.loads(encoder.schema)),
        None,
    )

    assert isinstance(record, dict)
    assert record["id"] == UUID("0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11")
    assert record["enqueued_at"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    read = record["args"]
    assert read["price"] == Decimal("12.50")
    assert (read["took"], read["day"], read["colour"]) == (1_500_000, day, "GREEN")
    assert (read["size"], read["other_colour"]) == ("LARGE", "GREEN")
    assert read["lines"] == [{"sku": "x", "count": 2, "notes": []}]


def test_fastavro_alone_writes_the_same_bytes(codec: Any) -> None:
    """The short cut around the envelope is the Avro encoding, byte for byte."""
    encoder: Encoder = codec.define(flat)
    args = {"number": -5, "name": "ü", "share": 0.5, "yes": False, "raw": b"\x00"}
    out = BytesIO()
    record = {
        "id": "0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11",
        "job": "flat",
        "enqueued_at": 1_700_000_000_000_000,
        "options": None,
        "args": args,
    }
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(encoder.schema)), record)

    assert codec.encode("flat", args)[10:] == out.getvalue()


def test_ids_are_random_uuids_and_differ_after_a_fork() -> None:
    ids = [new_id() for _ in range(1000)]
    assert all(UUID(one).version == 4 and is_id(one) and str(UUID(one)) == one for one in ids)
    assert len(set(ids)) == 1000

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 36).decode()
    os.close(read)
    os.close(write)
    assert theirs not in {new_id() for _ in range(1000)}
