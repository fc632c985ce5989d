"""Fingerprints, and what a schema store has to refuse."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import Field

from streamjobs.codec import (
    MemorySchemaStore,
    fingerprint,
    same_logical_types,
    single_object_prefix,
)
from streamjobs.errors import InvalidRecord, SchemaConflict


def record(*fields: Any, **more: Any) -> str:
    made = [{"name": f"f{at}", "type": kind} for at, kind in enumerate(fields)]
    return json.dumps({"type": "record", "name": "r", "fields": made, **more})


def decimal(scale: int, precision: int = 8) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


AT = {"type": "long", "logicalType": "timestamp-micros"}


def test_the_fingerprint_is_the_specifications() -> None:
    """CRC-64-AVRO of "null" is 63dd24e7cc258f8a (Avro's own test vectors), little endian here."""
    assert fingerprint('"null"') == bytes.fromhex("8a8f25cce724dd63")
    assert fingerprint('{"type": "null"}') == fingerprint('"null"')
    assert single_object_prefix('"null"') == b"\xc3\x01" + fingerprint('"null"')


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (record("long"), record({"type": "long"}), True),
        (record("long"), record("long", doc="what it is"), True),
        (record(AT), record({**AT, "doc": "when"}), True),
        (record(decimal(0)), record({k: v for k, v in decimal(0).items() if k != "scale"}), True),
        (record("long"), record(AT), False),
        (record(AT), record({"type": "long", "logicalType": "time-micros"}), False),
        (record(decimal(2)), record(decimal(4)), False),
        (record(decimal(2)), record(decimal(2, precision=9)), False),
        (record(["null", "long"]), record(["null", AT]), False),
        (
            record({"type": "array", "items": "long"}),
            record({"type": "array", "items": AT}),
            False,
        ),
        (record({"type": "map", "values": "long"}), record({"type": "map", "values": AT}), False),
        (
            record(json.loads(record("long")) | {"name": "x"}),
            record(json.loads(record(AT)) | {"name": "x"}),
            False,
        ),
    ],
)
def test_one_fingerprint_can_mean_two_things(a: str, b: str, same: bool) -> None:
    assert fingerprint(a) == fingerprint(b)
    assert same_logical_types(a, b) is same


def test_another_meaning_under_a_taken_fingerprint_is_refused(codec: Any) -> None:
    def job(price: Annotated[Decimal, Field(max_digits=8, decimal_places=2)]) -> None: ...

    encoder = codec.define(job)
    other = encoder.schema.replace('"scale":2', '"scale":4')
    assert other != encoder.schema
    codec.prefix(encoder)

    with pytest.raises(SchemaConflict, match=r"'my_shop\.job'"):
        codec.store.prefix("t", encoder.name, other)
    with pytest.raises(SchemaConflict):
        codec.store.prefix("t", encoder.name, other)


def test_the_first_text_of_a_fingerprint_stays() -> None:
    store = MemorySchemaStore()
    first, later = record("long"), record("long", doc="later")

    prefix = store.prefix("t", "r", first)

    assert store.prefix("t", "r", later) == prefix
    assert store.schema(prefix) == first


def test_a_fingerprint_nobody_has_is_an_invalid_record() -> None:
    with pytest.raises(InvalidRecord, match="no schema has the fingerprint"):
        MemorySchemaStore().schema(b"\xc3\x01" + bytes(8))
