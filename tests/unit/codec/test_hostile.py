"""Bytes that are no job: each is an InvalidRecord, and none costs memory or the interpreter."""

from __future__ import annotations

import enum
import json
import random
import tracemalloc
from collections.abc import Callable
from datetime import time
from io import BytesIO
from typing import Any, Literal

import fastavro
import pytest

from streamjobs.codec import MemorySchemaStore, new_id
from streamjobs.errors import InvalidRecord, UnknownJob


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


def flat(number: int, name: str) -> None: ...


def nested(
    colour: Colour,
    level: Literal["low", "high"],
    maybe: int | None,
    tags: list[str],
    counts: dict[str, int],
) -> None: ...


FLAT = {"number": 7, "name": "seven"}
NESTED = {
    "colour": Colour.RED,
    "level": "high",
    "maybe": 5,
    "tags": ["a", "b"],
    "counts": {"x": 1},
}


@pytest.fixture
def app(codec: Any) -> Any:
    codec.define(flat)
    codec.define(nested)
    return codec


def long(value: int) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        None,
        b"\x00",
        b"\xc3",
        b"\xc3\x01",
        b"\xc3\x01" + b"\x00" * 8,
        b"\xc3\x01" + b"\x07" * 40,
        b"\xc3\x02" + b"\x00" * 40,
        b"\x01" + b"\x00" * 40,
        b"\x00\x00\x00\x00\x09" + b"\x00" * 40,
        b'{"job": "flat"}',
        bytes(random.Random(42).randbytes(200)),
    ],
    ids=repr,
)
def test_d42_what_is_not_ours_is_an_invalid_record(app: Any, value: bytes | None) -> None:
    for read in (app.decoder.decode, app.decoder.describe):
        with pytest.raises(InvalidRecord):
            read(value)


@pytest.mark.parametrize(("job", "args"), [("flat", FLAT), ("nested", NESTED)])
def test_d43_a_record_cut_short_anywhere_is_an_invalid_record(
    app: Any, job: str, args: dict[str, Any]
) -> None:
    value = app.encode(job, args)

    for end in range(len(value)):
        with pytest.raises(InvalidRecord):
            app.decode(value[:end])


@pytest.mark.parametrize(("job", "args"), [("flat", FLAT), ("nested", NESTED)])
@pytest.mark.parametrize("options", [None, {"timeout_ms": 1}])
@pytest.mark.parametrize("junk", [b"\x00", b"\x00" * 20, b"x", b"junk that follows"])
def test_d44_bytes_left_over_are_an_invalid_record(
    app: Any, job: str, args: dict[str, Any], options: Any, junk: bytes
) -> None:
    value = app.encode(job, args, options) + junk

    with pytest.raises(InvalidRecord, match="left over"):
        app.decode(value)


def test_d46_a_job_that_only_a_newer_release_knows_is_an_unknown_job(
    app: Any, new_codec: Callable[[MemorySchemaStore], Any]
) -> None:
    value = app.encode("flat", FLAT)
    older = new_codec(app.store)

    with pytest.raises(UnknownJob, match="no job 'flat' here"):
        older.decode(value)

    older.define(flat)
    assert older.decode(value).args == FLAT


def test_d46_an_unknown_job_that_is_damaged_is_an_invalid_record(
    app: Any, new_codec: Callable[[MemorySchemaStore], Any]
) -> None:
    value = app.encode("flat", FLAT)

    with pytest.raises(InvalidRecord):
        new_codec(app.store).decode(value + b"\x00")


def test_d48_invalid_utf8_is_an_invalid_record(app: Any) -> None:
    for job, args, text in (("flat", FLAT, b"seven"), ("nested", NESTED, b"\x02a")):
        value = app.encode(job, args)
        spoiled = value.replace(text, text[:-1] + b"\xff")
        assert spoiled != value

        with pytest.raises(InvalidRecord):
            app.decode(spoiled)


# In the encoded NESTED the arguments begin: colour 00, level 02, maybe's branch 02 and value 0a.
@pytest.mark.parametrize("at", [0, 1, 2], ids=["enum", "literal", "union"])
@pytest.mark.parametrize("index", [-1, -2, -3, 2, 100, -(2**63)])
def test_d49_an_index_outside_of_its_type_is_an_invalid_record(
    app: Any, at: int, index: int
) -> None:
    value = app.encode("nested", NESTED)
    start = value.index(b"\x00\x02\x02\x0a")

    spoiled = value[: start + at] + long(index) + value[start + at + 1 :]

    with pytest.raises(InvalidRecord, match="index"):
        app.decode(spoiled)
    # Where the enum was, zeros would make up for bytes that another branch needs.
    with pytest.raises(InvalidRecord):
        app.decode(spoiled + b"\x00" * 20)


@pytest.mark.parametrize("index", [-1, 2, 50])
def test_d49_a_bad_index_in_the_envelope_is_an_invalid_record(app: Any, index: int) -> None:
    value = app.encode("flat", FLAT)
    options = value.index(long(1_700_000_000_000_000)) + 8
    assert value[options] == 0

    with pytest.raises(InvalidRecord, match="union index"):
        app.decode(value[:options] + long(index) + value[options + 1 :])


@pytest.mark.parametrize("length", [-1, -5, -(2**63), 6, 2**31, 2**40, 2**62])
def test_d50_a_length_beyond_the_bytes_is_an_invalid_record(app: Any, length: int) -> None:
    for job, args, text in (("flat", FLAT, "seven"), ("nested", NESTED, "b")):
        value = app.encode(job, args)
        plain = long(len(text)) + text.encode()
        spoiled = value.replace(plain, long(length) + text.encode())

        with pytest.raises(InvalidRecord):
            app.decode(spoiled if job == "flat" or length != 6 else spoiled[:-4])


@pytest.mark.parametrize("count", [1000, 2**31, 2**60, -(2**63), -1000])
def test_d50_more_items_than_bytes_are_an_invalid_record_at_no_cost(app: Any, count: int) -> None:
    value = app.encode("nested", NESTED)
    tags = value.index(long(2) + b"\x02a\x02b")
    spoiled = value[:tags] + long(count) + value[tags + 1 :]

    tracemalloc.start()
    with pytest.raises(InvalidRecord):
        app.decode(spoiled)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_block_whose_size_lies_is_an_invalid_record(app: Any) -> None:
    value = app.encode("nested", NESTED)
    tags = value.index(long(2) + b"\x02a\x02b")
    honest = value[:tags] + long(-2) + long(4) + value[tags + 1 :]
    lying = value[:tags] + long(-2) + long(99) + value[tags + 1 :]

    assert app.decode(honest).args == NESTED
    with pytest.raises(InvalidRecord, match="size"):
        app.decode(lying)


def test_a_number_longer_than_64_bits_is_an_invalid_record(app: Any) -> None:
    value = app.encode("nested", NESTED)
    start = value.index(b"\x00\x02\x02\x0a") + 3

    for number in (b"\xff" * 10 + b"\x01", b"\xff" * 30 + b"\x01", b"\xff" * 9 + b"\x7f"):
        with pytest.raises(InvalidRecord, match="number"):
            app.decode(value[:start] + number + value[start + 1 :])


def test_a_time_of_day_outside_of_the_day_is_an_invalid_record(codec: Any) -> None:
    def at(hour: time) -> None: ...

    codec.define(at)
    value = codec.encode("at", {"hour": time(0, 0)})

    for micros in (-5, 86_400_000_000):
        with pytest.raises(InvalidRecord, match="time of day"):
            codec.decode(value[:-1] + long(micros))


# What another program could put into the schema log.
def job_schema(args: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "flat",
        "namespace": "my_shop",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "job", "type": "string"},
            {"name": "enqueued_at", "type": "long"},
            {"name": "options", "type": ["null", "long"]},
            {"name": "args", "type": {"type": "record", "name": "a", "fields": args}},
        ],
        **more,
    }


def deep(levels: int) -> Any:
    kind: Any = "long"
    for _ in range(levels):
        kind = {"type": "array", "items": kind}
    return kind


def doubling(levels: int) -> list[Any]:
    """Return fields whose records hold the one before twice, and in the end nothing."""
    fields: list[Any] = []
    last: Any = "null"
    for level in range(levels):
        parts = [{"name": side, "type": last} for side in "lr"]
        fields.append(
            {"name": f"f{level}", "type": {"type": "record", "name": f"r{level}", "fields": parts}}
        )
        last = f"r{level}"
    return fields


RECURSIVE = {
    "type": "record",
    "name": "node",
    "fields": [{"name": "next", "type": ["null", "node"]}],
}
NOTHING = {"type": "record", "name": "nothing", "fields": []}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (job_schema([{"name": "x", "type": RECURSIVE}]), "contains itself"),
        (job_schema([{"name": "x", "type": {"type": "array", "items": "null"}}]), "no bytes"),
        (job_schema([{"name": "x", "type": {"type": "array", "items": NOTHING}}]), "no bytes"),
        (job_schema([{"name": "x", "type": deep(100)}]), "deep"),
        (job_schema([{"name": "x", "type": deep(400)}]), "deep"),
        (job_schema(doubling(30)), "parts"),
        (job_schema([{"name": f"x{n}", "type": "long"} for n in range(5000)]), "parts"),
        (job_schema([{"name": "x", "type": "nowhere"}]), "not defined"),
        (job_schema([{"name": "x", "type": {"type": "fixed", "name": "f", "size": -1}}]), "fixed"),
        (job_schema([{"name": "x"}]), "no Avro schema"),
        (job_schema([], name="no-name"), "job name"),
        ({"type": "record", "name": "flat", "fields": []}, "no job's"),
        (["null", "long"], "no job's"),
        ("string", "no job's"),
        ({}, "no Avro schema"),
        (7, "no Avro schema"),
    ],
)
def test_d51_a_dangerous_or_foreign_schema_is_an_invalid_record(
    new_codec: Callable[[MemorySchemaStore], Any], schema: Any, why: str
) -> None:
    class Store(MemorySchemaStore):
        def schema(self, prefix: bytes) -> str:
            return json.dumps(schema)

    codec = new_codec(Store())
    codec.define(flat)

    for _ in range(2):
        with pytest.raises(InvalidRecord, match=why):
            codec.decode(b"\xc3\x01" + bytes(8) + b"\x00" * 50)


def test_d51_a_schema_text_nested_beyond_the_parser_is_an_invalid_record(
    new_codec: Callable[[MemorySchemaStore], Any],
) -> None:
    class Store(MemorySchemaStore):
        def schema(self, prefix: bytes) -> str:
            return "[" * 100_000

    with pytest.raises(InvalidRecord):
        new_codec(Store()).decode(b"\xc3\x01" + bytes(50))


def test_a_job_under_the_schema_of_another_is_an_invalid_record(app: Any) -> None:
    value = app.encode("flat", FLAT)
    assert value.count(b"\x08flat") == 1

    with pytest.raises(InvalidRecord, match="a job named 'flop' under the schema of 'flat'"):
        app.decode(value.replace(b"\x08flat", b"\x08flop"))


@pytest.mark.parametrize(
    "bad",
    ["0A7F2F9E-9C0E-4D2B-8F8C-8D7D4F9F3A11", "g" * 36, "", "7", "x" * 100],
)
def test_an_id_that_is_no_canonical_uuid_is_refused_on_both_ends(app: Any, bad: str) -> None:
    encoder = app.encoders["flat"]
    with pytest.raises(ValueError, match="no UUID"):
        encoder.encode(app.prefix(encoder), FLAT, id=bad, enqueued_at=0)

    value = app.encode("flat", FLAT)
    good = b"H0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11"
    with pytest.raises(InvalidRecord, match="UUID"):
        app.decode(value.replace(good, long(len(bad)) + bad.encode()))


def test_a_date_beyond_the_calendar_is_an_invalid_record(app: Any) -> None:
    encoder = app.encoders["flat"]
    value = encoder.encode(app.prefix(encoder), FLAT, id=new_id(), enqueued_at=2**62)

    with pytest.raises(InvalidRecord, match="no year"):
        app.decode(value)


@pytest.mark.parametrize(("job", "args"), [("flat", FLAT), ("nested", NESTED)])
def test_random_damage_is_an_invalid_record_or_a_job(
    app: Any, job: str, args: dict[str, Any]
) -> None:
    value = app.encode(job, args)
    dice = random.Random(7)

    for _ in range(3000):
        spoiled = bytearray(value)
        for _ in range(dice.randint(1, 3)):
            spoiled[dice.randrange(10, len(spoiled))] = dice.randrange(256)
        try:
            envelope = app.decode(bytes(spoiled))
        except InvalidRecord:
            continue
        # What still decodes is well formed: its own encoding has the same length.
        encoder = app.encoders[job]
        again = encoder.encode(
            app.prefix(encoder),
            envelope.args,
            id=envelope.id,
            enqueued_at=envelope.enqueued_at,
            options=envelope.options,
        )
        assert len(again) <= len(spoiled)
