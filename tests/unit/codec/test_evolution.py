"""Records of another release: what changed is resolved, or refused by the field's name."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Annotated, Any

import fastavro
import pytest
from pydantic import AfterValidator, Field

from streamjobs.codec import Encoder, MemorySchemaStore
from streamjobs.errors import InvalidRecord, SchemaUnavailable

NewCodec = Callable[[MemorySchemaStore], Any]


@dataclass
class OldLine:
    sku: str


@dataclass
class Line:
    sku: str
    count: int = 1
    notes: list[str] = field(default_factory=list)


LINE = Line("x")


class Two(enum.Enum):
    A = 1
    B = 2


class One(enum.Enum):
    A = 1


def release(codec: Any, function: Callable[..., Any]) -> Encoder:
    return codec.define(function, name="job")  # type: ignore[no-any-return]


def read_by(
    new_codec: NewCodec, old: Callable[..., Any], new: Callable[..., Any], **args: Any
) -> dict[str, Any]:
    """Encode with one release's function and decode with another's."""
    writer = new_codec(MemorySchemaStore())
    release(writer, old)
    reader = new_codec(writer.store)
    release(reader, new)
    value = writer.encode("job", args)
    return reader.decode(value).args  # type: ignore[no-any-return]


def test_parameters_added_with_defaults_are_filled_in(new_codec: NewCodec) -> None:
    def old(number: int) -> None: ...
    def new(  # noqa: PLR0917 - one of each kind of default
        number: int,
        name: str = "n",
        share: float = float("nan"),
        tags: list[str] = [],  # noqa: B006 - that it is not shared is the test
        line: Line = LINE,
        maybe: int | None = 5,
    ) -> None: ...

    first = read_by(new_codec, old, new, number=7)
    second = read_by(new_codec, old, new, number=7)

    assert str(first.pop("share")) == "nan"
    assert first == {"number": 7, "name": "n", "tags": [], "line": Line("x"), "maybe": 5}
    assert first["tags"] is not second["tags"]
    assert first["line"] is not second["line"]


def test_an_added_optional_parameter_without_a_default_is_none(new_codec: NewCodec) -> None:
    def old(number: int) -> None: ...
    def new(number: int, maybe: int | None) -> None: ...

    assert read_by(new_codec, old, new, number=7) == {"number": 7, "maybe": None}


def test_an_added_parameter_without_a_default_is_refused_by_name(new_codec: NewCodec) -> None:
    def old(number: int) -> None: ...
    def new(number: int, name: str) -> None: ...

    with pytest.raises(InvalidRecord, match="name: the record is older than this parameter"):
        read_by(new_codec, old, new, number=7)


def test_a_removed_parameter_is_left_out(new_codec: NewCodec) -> None:
    def old(number: int, name: str, line: Line) -> None: ...
    def new(number: int) -> None: ...

    assert read_by(new_codec, old, new, number=7, name="n", line=Line("x")) == {"number": 7}


def test_parameters_may_change_places(new_codec: NewCodec) -> None:
    def old(number: int, name: str) -> None: ...
    def new(name: str, number: int) -> None: ...

    assert read_by(new_codec, old, new, number=7, name="n") == {"number": 7, "name": "n"}


def test_types_widen_as_avro_says(new_codec: NewCodec) -> None:
    def old(number: int, text: str) -> None: ...
    def new(number: float, text: bytes) -> None: ...

    back = read_by(new_codec, old, new, number=7, text="ü")

    assert back == {"number": 7.0, "text": "ü".encode()}
    assert type(back["number"]) is float


def test_becoming_optional_and_back(new_codec: NewCodec) -> None:
    def certain(number: int) -> None: ...
    def perhaps(number: int | None) -> None: ...

    assert read_by(new_codec, certain, perhaps, number=7) == {"number": 7}
    assert read_by(new_codec, perhaps, certain, number=7) == {"number": 7}
    with pytest.raises(InvalidRecord, match="number"):
        read_by(new_codec, perhaps, certain, number=None)


def test_fields_of_a_nested_record_evolve_too(new_codec: NewCodec) -> None:
    def old(lines: list[OldLine]) -> None: ...
    def new(lines: list[Line]) -> None: ...

    assert read_by(new_codec, old, new, lines=[OldLine("x")]) == {"lines": [Line("x", 1, [])]}
    assert read_by(new_codec, new, old, lines=[Line("x", 2)]) == {"lines": [OldLine("x")]}


def test_an_enum_loses_a_symbol(new_codec: NewCodec) -> None:
    def old(which: Two) -> None: ...
    def new(which: One) -> None: ...

    assert read_by(new_codec, old, new, which=Two.A) == {"which": One.A}
    with pytest.raises(InvalidRecord, match="which: got 'B'"):
        read_by(new_codec, old, new, which=Two.B)


def _explode(value: int) -> int:
    raise LookupError("boom")


def _int(x: int) -> None: ...
def _str(x: str) -> None: ...
def _bool(x: bool) -> None: ...
def _float(x: float) -> None: ...
def _at(x: datetime) -> None: ...
def _list(x: list[int]) -> None: ...
def _texts(x: list[str]) -> None: ...
def _line(x: Line) -> None: ...


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        (_int, _str, 7),
        (_str, _int, "7"),
        (_int, _bool, 1),
        (_float, _int, 1.5),
        (_int, _at, 7),
        (_at, _int, datetime(2024, 1, 1, tzinfo=UTC)),
        (_int, _list, 7),
        (_list, _texts, [7]),
        (_line, _int, Line("x")),
        (_int, _line, 7),
    ],
)
def test_a_type_that_changed_is_refused_by_name(
    new_codec: NewCodec, old: Any, new: Any, value: Any
) -> None:
    with pytest.raises(InvalidRecord, match=r"x.*: written as .*, and the signature wants "):
        read_by(new_codec, old, new, x=value)


def test_a_decimal_of_another_scale_keeps_its_value(new_codec: NewCodec) -> None:
    """Avro's own resolution would read the unscaled number of one as the other's."""

    def old(price: Annotated[Decimal, Field(max_digits=8, decimal_places=2)]) -> None: ...
    def new(price: Annotated[Decimal, Field(max_digits=8, decimal_places=4)]) -> None: ...

    assert read_by(new_codec, old, new, price=Decimal("12.34")) == {"price": Decimal("12.34")}
    with pytest.raises(InvalidRecord, match="price"):
        read_by(new_codec, new, old, price=Decimal("12.3456"))


def test_d47_constraints_hold_on_the_worker_too(new_codec: NewCodec) -> None:
    def old(number: int) -> None: ...
    def new(number: Annotated[int, Field(ge=0)]) -> None: ...

    assert read_by(new_codec, old, new, number=0) == {"number": 0}
    with pytest.raises(InvalidRecord, match=r"number: got -1 .*greater than or equal to 0"):
        read_by(new_codec, old, new, number=-1)


def test_a_validator_that_raises_anything_makes_an_invalid_record(new_codec: NewCodec) -> None:
    def old(number: int) -> None: ...
    def new(number: Annotated[int, AfterValidator(_explode)]) -> None: ...

    with pytest.raises(InvalidRecord, match="LookupError: boom"):
        read_by(new_codec, old, new, number=1)


def test_other_programs_resolve_an_old_record_by_our_schema(codec: Any) -> None:
    """The schema carries the defaults: fastavro alone reads an old record with a new schema."""

    def old(number: int) -> None: ...
    def new(number: int, name: str = "n", maybe: int | None = 5, line: Line = LINE) -> None: ...

    writer = release(codec, old)
    value = codec.encode("job", {"number": 7})
    reader = Encoder("my-shop", with_function(codec, new))

    read = fastavro.schemaless_reader(
        BytesIO(value[10:]),
        fastavro.parse_schema(json.loads(writer.schema)),
        fastavro.parse_schema(json.loads(reader.schema)),
    )

    assert isinstance(read, dict)
    assert read["args"] == {
        "number": 7,
        "name": "n",
        "maybe": 5,
        "line": {"sku": "x", "count": 1, "notes": []},
    }


def with_function(codec: Any, function: Callable[..., Any]) -> Any:
    other = type(codec)()
    other.define(function, name="job")
    return other.registry.find_job("job")


def test_describe_needs_no_definition(new_codec: NewCodec) -> None:
    def old(number: int, at: datetime, raw: bytes) -> None: ...

    writer = new_codec(MemorySchemaStore())
    release(writer, old)
    value = writer.encode(
        "job", {"number": 7, "at": datetime(2024, 1, 1, tzinfo=UTC), "raw": b"\xff"}
    )

    told = new_codec(writer.store).decoder.describe(value)

    assert (told.job, told.enqueued_at) == ("job", 1_700_000_000_000_000)
    assert told.args == {"number": 7, "at": "2024-01-01T00:00:00+00:00", "raw": "/w=="}
    assert json.loads(json.dumps(told.args)) == told.args


def test_describe_tells_a_record_whose_job_changed_its_types(new_codec: NewCodec) -> None:
    writer = new_codec(MemorySchemaStore())
    release(writer, _int)
    reader = new_codec(writer.store)
    release(reader, _str)

    assert reader.decoder.describe(writer.encode("job", {"x": 7})).args == {"x": 7}


def test_d45_a_store_that_does_not_answer_is_no_poison(new_codec: NewCodec) -> None:
    class Down(MemorySchemaStore):
        up = False

        def schema(self, prefix: bytes) -> str:
            if not self.up:
                raise SchemaUnavailable("the schema log does not answer")
            return super().schema(prefix)

    store = Down()
    codec = new_codec(store)
    release(codec, _int)
    value = codec.encode("job", {"x": 7})

    with pytest.raises(SchemaUnavailable):
        codec.decode(value)
    store.up = True
    assert codec.decode(value).args == {"x": 7}


def test_a_schema_of_confluents_framing(new_codec: NewCodec) -> None:
    class Registry(MemorySchemaStore):
        def prefix(self, topic: str, name: str, schema: str) -> bytes:
            self._texts[b"\x00\x00\x00\x00\x2a"] = schema
            return b"\x00\x00\x00\x00\x2a"

    codec = new_codec(Registry())
    release(codec, _str)

    value = codec.encode("job", {"x": "text"})

    assert value[:5] == b"\x00\x00\x00\x00\x2a"
    assert codec.decode(value).args == {"x": "text"}
    with pytest.raises(InvalidRecord, match="left over"):
        codec.decode(value + b"\x00")
