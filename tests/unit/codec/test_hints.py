"""The table of hints: what a schema looks like, that it stays so, and what is refused."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict
from uuid import UUID

import fastavro
import py_avro_schema
import pytest
from pydantic import BaseModel, Field

from streamjobs.codec import Encoder, fingerprint
from streamjobs.errors import DefinitionError

GOLDEN = Path(__file__).parent / "golden"
Money = Annotated[Decimal, Field(max_digits=9, decimal_places=2)]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


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
    price: Decimal = Field(default=Decimal("1.50"), max_digits=9, decimal_places=2)
    lines: list[Line] = []


LINE = Line("x", 2, ["n"])
UID = UUID(int=7)


def every_hint(  # noqa: PLR0917 - one of each
    number: int,
    share: float,
    text: str,
    yes: bool,
    raw: bytes,
    price: Money,
    at: datetime,
    day: date,
    hour: time,
    took: timedelta,
    uid: UUID,
    colour: Colour,
    level: Literal["low", "high"],
    maybe: int | None,
    tags: list[str],
    counts: dict[str, list[int]],
    line: Line,
    address: Address,
    order: Order,
) -> None: ...


def every_default(  # noqa: PLR0917 - one of each
    number: int = -7,
    share: float = 1,
    text: str = "ü",
    yes: bool = True,
    raw: bytes = b"\xff",
    price: Money = Decimal("-12.5"),
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC),
    day: date = date(2024, 1, 1),
    hour: time = time(1, 2, 3, 4),
    took: timedelta = timedelta(seconds=1.5),
    uid: UUID = UID,
    colour: Colour = Colour.GREEN,
    level: Literal["low", "high"] = "high",
    maybe: int | None = None,
    five: int | None = 5,
    tags: list[str] = ["a"],  # noqa: B006
    counts: dict[str, int] = {"a": 1},  # noqa: B006
    line: Line = LINE,
    nowhere: float = math.nan,
) -> None: ...


def args_schema(encoder: Encoder) -> dict[str, Any]:
    fields = json.loads(encoder.schema)["fields"][-1]["type"]["fields"]
    return {one["name"]: one for one in fields}


@pytest.mark.parametrize("function", [every_hint, every_default])
def test_a_schema_is_the_same_text_for_the_same_code(codec: Any, function: Any) -> None:
    """A change of this text is a change of the wire contract: read the difference first."""
    text = codec.define(function).schema

    golden = (GOLDEN / f"{function.__name__}.avsc").read_text(encoding="utf-8")

    assert json.loads(text) == json.loads(golden)
    assert text == json.dumps(json.loads(golden), separators=(",", ":"))


def test_the_envelope_is_the_template(codec: Any) -> None:
    def tick() -> None: ...

    template = (Path(__file__).parents[3] / "schemas" / "job.avsc").read_text(encoding="utf-8")
    expected = json.loads(template.replace("JOB", "tick").replace("APP", "my_shop"))
    del expected["doc"]

    assert json.loads(codec.define(tick).schema) == expected


@pytest.mark.parametrize("function", [every_hint, every_default])
def test_fastavro_accepts_schema_and_defaults(codec: Any, function: Any) -> None:
    schema = json.loads(codec.define(function).schema)
    fastavro.parse_schema(schema)
    assert len(fingerprint(json.dumps(schema))) == 8


def test_a_default_that_avro_cannot_say_stays_in_python(codec: Any) -> None:
    fields = args_schema(codec.define(every_default))

    assert "default" not in fields["nowhere"]
    assert fields["maybe"]["type"] == ["null", "long"]
    assert fields["five"] == {"name": "five", "type": ["long", "null"], "default": 5}


def test_typing_spellings_give_the_same_schema(codec: Any) -> None:
    def new(x: int | None, y: list[int]) -> None: ...
    def old(x: Optional[int], y: list["int"]) -> None: ...  # noqa: UP045, UP037

    first = codec.define(new).schema
    second = codec.define(old).schema

    assert first == second.replace('"old', '"new')


ORACLE = [
    int,
    float,
    str,
    bool,
    bytes,
    datetime,
    date,
    time,
    int | None,
    list[str],
    dict[str, int],
    list[dict[str, float]],
    make_dataclass("Made", [("sku", str), ("counts", list[int]), ("maybe", str | None)]),
]


@pytest.mark.parametrize("hint", ORACLE, ids=str)
def test_py_avro_schema_agrees_where_it_has_the_hint(codec: Any, hint: Any) -> None:
    def job(x: Any) -> None: ...

    job.__annotations__["x"] = hint
    ours = args_schema(codec.define(job))["x"]["type"]

    options = (
        py_avro_schema.Option.LOGICAL_JSON_STRING
        | py_avro_schema.Option.NO_AUTO_NAMESPACE
        | py_avro_schema.Option.NO_DOC
    )
    theirs = json.loads(py_avro_schema.generate(hint, options=options))

    assert shape(ours) == shape(theirs)


def shape(node: Any) -> Any:
    """Return a schema without names and defaults, unions in any order."""
    if isinstance(node, list):
        return sorted((shape(item) for item in node), key=str)
    if not isinstance(node, dict):
        return node
    kept = {key: shape(value) for key, value in node.items() if key not in ("name", "default")}
    if "fields" in node:
        kept["fields"] = [[one["name"], shape(one["type"])] for one in node["fields"]]
    return kept


# ------------------------------------------------------------------ what is refused
class Node(BaseModel):
    next: Node | None = None


@dataclass
class Ring:
    others: list[Ring]


class Part(TypedDict):
    name: str
    note: NotRequired[str]


class Partial(TypedDict, total=False):
    name: str


@dataclass
class Nothing: ...


@dataclass
class Hidden:
    name: str
    secret: int = field(init=False)


@dataclass
class Init:
    name: str
    seed: InitVar[int]


@dataclass
class BadDefault:
    count: int = "x"  # type: ignore[assignment]


class Aliased(BaseModel):
    number: int = Field(alias="no")


class Open(BaseModel, extra="allow"):
    number: int


class Pair(NamedTuple):
    left: int
    right: int


Umlaut = enum.Enum("Umlaut", ["GRÜN"])


class Flags(enum.Flag):
    A = 1
    B = 2


class Empty(enum.Enum): ...


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (Any, "use int, float"),
        (object, "use int, float"),
        (complex, "use int, float"),
        (list, "use int, float"),
        (dict, "use int, float"),
        (set[int], "use int, float"),
        (tuple[int, str], "use int, float"),
        (None, "use int, float"),
        (Pair, "use int, float"),
        (NewType("NewInt", int), "use int, float"),
        (list[Any], "use int, float"),
        (dict[int, str], "keys of a map are text"),
        (int | str, "only union is X | None"),
        (int | str | None, "only union is X | None"),
        (Decimal, "say its size"),
        (Annotated[Decimal, Field(max_digits=5)], "give both"),
        (Annotated[Decimal, Field(decimal_places=5)], "give both"),
        (Literal[1, 2], "Literal of strings"),
        (Literal["a", b"b"], "Literal of strings"),
        (Literal["no-symbol"], "no Avro symbol"),
        (Literal["1st"], "no Avro symbol"),
        (Umlaut, "no Avro symbol"),
        (Empty, "no members"),
        (Flags, "Flag combines"),
        (Node, "contains itself"),
        (Ring, "contains itself"),
        (Part, "may be absent"),
        (Partial, "may be absent"),
        (Nothing, "no fields"),
        (Hidden, "init=False"),
        (Init, "InitVar"),
        (BadDefault, "default does not fit"),
        (Aliased, "alias"),
        (Open, "more than its fields"),
        (Annotated[str, Field(pattern="(")], "constraint"),
    ],
    ids=str,
)
def test_a_hint_without_an_avro_form_is_refused_by_parameter(
    codec: Any, hint: Any, says: str
) -> None:
    def job(fine: int, bad: Any) -> None: ...

    job.__annotations__["bad"] = hint

    with pytest.raises(DefinitionError, match=says) as caught:
        codec.define(job)
    assert "job 'job'" in str(caught.value)
    if says != "constraint":
        assert "parameter 'bad'" in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (int, "7"),
        (int, None),
        (int, True),
        (int, 2**63),
        (str, 7),
        (datetime, datetime(2024, 1, 1)),  # noqa: DTZ001 - naive is the point
        (Money, Decimal("0.001")),
        (Colour, "RED"),
        (Literal["low"], "high"),
        (list[int], ["x"]),
        (Line, {"sku": "x"}),
        (Annotated[int, Field(ge=0)], -1),
    ],
)
def test_a_default_that_does_not_fit_is_refused(codec: Any, hint: Any, default: Any) -> None:
    def job(bad: Any = default) -> None: ...

    job.__annotations__["bad"] = hint

    with pytest.raises(DefinitionError, match="parameter 'bad': its default does not fit"):
        codec.define(job)


def test_two_classes_of_one_name_are_refused(codec: Any) -> None:
    first = make_dataclass("Same", [("x", int)])
    second = make_dataclass("Same", [("y", int)])

    def job(one: Any, two: Any) -> None: ...

    job.__annotations__ |= {"one": first, "two": second}

    with pytest.raises(DefinitionError, match="another type of this job is 'job_Same'"):
        codec.define(job)


def test_a_class_in_two_places_is_defined_once(codec: Any) -> None:
    def job(one: Line, many: list[Line], colour: Colour, other: Colour | None = None) -> None: ...

    fields = args_schema(codec.define(job))

    assert fields["many"]["type"] == {"type": "array", "items": "job_Line"}
    assert fields["other"]["type"] == ["null", "job_Colour"]
    args = {"one": LINE, "many": [LINE], "colour": Colour.RED, "other": Colour.GREEN}
    assert codec.round_trip("job", **args) == args
