"""The schema log: the first text of a fingerprint stands, and strangers find nothing."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from streamjobs.clock import monotonic
from streamjobs.codec import MemorySchemaStore, single_object_prefix
from streamjobs.errors import InvalidRecord, SchemaConflict, SchemaUnavailable, TopicsError
from streamjobs.kafka import schema_log
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.config import producer_config
from streamjobs.kafka.reader import Record, read
from streamjobs.kafka.schema_log import SchemaLog
from streamjobs.kafka.stores import open_store
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import schemas_spec, schemas_topic


def schema(scale: int = 2, **field: Any) -> str:
    """Schemas of one fingerprint, whatever their scale and defaults."""
    amount = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}
    fields = [{"name": "amount", "type": amount}, {"name": "note", "type": "string", **field}]
    return json.dumps({"type": "record", "name": "pay", "namespace": "shop", "fields": fields})


class Place:
    """An app's schema log and the ways to look at it."""

    def __init__(self, broker: Broker, app: str) -> None:
        self.settings = load_settings({}, bootstrap_servers=broker.bootstrap)
        self.topic = schemas_topic(app)
        broker.create_topics([schemas_spec(app)])

    def store(self) -> SchemaLog:
        return SchemaLog(self.settings, self.topic)

    def put(self, key: bytes | None, value: bytes | None) -> None:
        producer = Producer(producer_config(self.settings))
        producer.produce(self.topic, value, key)
        assert producer.flush(20) == 0

    def records(self) -> list[Record]:
        with Admin(self.settings) as admin:
            log = admin.watermarks([(self.topic, 0)])[self.topic, 0]
        return list(read(self.settings, {(self.topic, 0): (log.start, log.end)}))


@pytest.fixture
def place(any_broker: Broker, app_name: str) -> Place:
    return Place(any_broker, app_name)


def test_more_partitions_of_the_topic_do_no_harm(any_broker: Broker, app_name: str) -> None:
    # given a schema log of three partitions, which somebody made by hand
    any_broker.create_topics([replace(schemas_spec(app_name), partitions=3)])
    settings = load_settings({}, bootstrap_servers=any_broker.bootstrap)
    one, other = (SchemaLog(settings, schemas_topic(app_name)) for _ in range(2))
    # when schemas are written whose keys belong in different ones, then all are found
    for field in "abcdef":
        schema = json.dumps(
            {"type": "record", "name": "r", "fields": [{"name": field, "type": "long"}]}
        )
        assert other.schema(one.prefix("shop.mail", "r", schema)) == schema


def test_a_schema_that_one_writes_another_reads(place: Place) -> None:
    prefix = place.store().prefix("shop.mail", "shop.pay", schema())

    assert prefix == single_object_prefix(schema())
    assert place.store().schema(prefix) == schema()
    [record] = place.records()
    assert record.key == prefix[2:].hex().encode()
    assert record.value == schema().encode()


def test_a_schema_that_is_there_is_not_written_again(place: Place) -> None:
    store = place.store()

    prefixes = {s.prefix("shop.mail", "shop.pay", schema()) for s in (store, store, place.store())}

    assert len(prefixes) == len(place.records()) == 1


def test_another_logical_type_under_the_same_fingerprint_is_refused(place: Place) -> None:
    prefix = place.store().prefix("shop.mail", "shop.pay", schema(scale=2))

    with pytest.raises(SchemaConflict, match=r"shop\.pay.*new name"):
        place.store().prefix("shop.mail", "shop.pay", schema(scale=4))

    assert place.store().schema(prefix) == schema(scale=2)
    assert len(place.records()) == 1


def test_of_other_defaults_the_first_ones_stay(place: Place) -> None:
    first = place.store().prefix("shop.mail", "shop.pay", schema(default="a"))
    store = place.store()

    assert store.prefix("shop.mail", "shop.pay", schema(default="b")) == first

    assert store.schema(first) == schema(default="a")
    assert len(place.records()) == 1


class Racing(SchemaLog):
    """A store that another process overtakes between its look and its write."""

    place: Place
    rival: str

    def _write(self, prefix: bytes, schema: str) -> None:
        if not self.place.records():
            self.place.put(prefix[2:].hex().encode(), self.rival.encode())
        super()._write(prefix, schema)


def racing(place: Place, rival: str) -> Racing:
    store = Racing(place.settings, place.topic)
    store.place, store.rival = place, rival
    return store


def test_who_loses_the_race_to_another_logical_type_is_refused(place: Place) -> None:
    store = racing(place, schema(scale=4))

    with pytest.raises(SchemaConflict):
        store.prefix("shop.mail", "shop.pay", schema(scale=2))


def test_compaction_keeps_the_text_that_was_first(place: Place) -> None:
    # given a race that ends with two texts in the log
    prefix = racing(place, schema(default="a")).prefix("shop.mail", "shop.pay", schema(default="b"))
    # then the first one is also the last, which is what compaction keeps
    texts = [(record.value or b"").decode() for record in place.records()]
    assert texts == [schema(default="a"), schema(default="b"), schema(default="a")]
    assert place.store().schema(prefix) == schema(default="a")


def test_a_schema_registered_later_is_found(place: Place) -> None:
    reader = place.store()
    prefix = single_object_prefix(schema())
    with pytest.raises(InvalidRecord, match=prefix[2:].hex()):
        reader.schema(prefix)

    place.store().prefix("shop.mail", "shop.pay", schema())

    assert reader.schema(prefix) == schema()


@pytest.mark.parametrize(
    "prefix", [b"", b"\x00\x00\x00\x00\x01", b"\xc3\x01", b"\xc3\x02" + b"x" * 8]
)
def test_what_is_no_reference_is_no_record_of_ours(prefix: bytes) -> None:
    nowhere = SchemaLog(Settings(bootstrap_servers="127.0.0.1:1"), "shop.schemas")

    with pytest.raises(InvalidRecord):
        nowhere.schema(prefix)


def test_strange_fingerprints_do_not_hammer_the_broker(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given 8 threads with 5 unknown fingerprints each
    store, readings, refused = place.store(), [], []
    inner = store._read

    def counted() -> None:
        readings.append(1)
        inner()

    monkeypatch.setattr(store, "_read", counted)

    def ask(thread: int) -> None:
        for number in range(5):
            with pytest.raises(InvalidRecord):
                store.schema(b"\xc3\x01" + bytes((thread, number)) * 4)
            refused.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    # when they ask all at once
    began = monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # then one reading answers for all that waited for it
    assert len(refused) == 40
    assert len(readings) <= (monotonic() - began) / schema_log.READ_INTERVAL + 1
    assert len(readings) < 30


def test_junk_in_the_log_is_passed_over_loudly(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = single_object_prefix(schema())
    place.put(b"not hex", b"{}")
    place.put(prefix[2:].hex().encode(), b"\xff\xfe")
    place.put(prefix[2:].hex().encode(), b'"int"')
    place.put(prefix[2:].hex().encode(), None)
    place.put(None, b"{}")

    assert place.store().prefix("shop.mail", "shop.pay", schema()) == prefix

    assert place.store().schema(prefix) == schema()
    assert sum("is no schema of its key" in r.getMessage() for r in caplog.records) >= 3


def test_a_missing_topic_names_the_mending_command(any_broker: Broker, app_name: str) -> None:
    settings = load_settings({}, bootstrap_servers=any_broker.bootstrap)
    store = SchemaLog(settings, schemas_topic(app_name))

    with pytest.raises(TopicsError, match="streamjobs -A module:app topics apply"):
        store.prefix("shop.mail", "shop.pay", schema())
    with pytest.raises(SchemaUnavailable, match="streamjobs -A module:app topics apply"):
        store.schema(single_object_prefix(schema()))


@pytest.fixture
def abandoned(app_name: str, monkeypatch: pytest.MonkeyPatch) -> SchemaLog:
    """A store that knows one schema, and whose broker is gone."""
    with start_broker("embedded") as broker:
        store = Place(broker, app_name).store()
        store.prefix("shop.mail", "shop.pay", schema())
    monkeypatch.setattr(schema_log, "TIMEOUT", 1.0)
    return store


def test_without_a_broker_known_schemas_still_serve(abandoned: SchemaLog) -> None:
    prefix = abandoned.prefix("shop.mail", "shop.pay", schema())

    assert abandoned.schema(prefix) == schema()


def test_without_a_broker_others_are_unavailable_not_invalid(abandoned: SchemaLog) -> None:
    unknown = MemorySchemaStore().prefix("", "", '{"type":"record","name":"x","fields":[]}')

    with pytest.raises(SchemaUnavailable):
        abandoned.schema(unknown)
    with pytest.raises(SchemaUnavailable):
        abandoned.prefix("shop.mail", "x", '{"type":"record","name":"x","fields":[]}')


def test_without_a_registry_the_log_is_the_store() -> None:
    assert isinstance(open_store(Settings(), "shop"), SchemaLog)
