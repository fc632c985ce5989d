"""Reading topics outside of any group, on both engines."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p

import pytest
from confluent_kafka import Producer, cimpl

from streamjobs.clock import monotonic
from streamjobs.kafka import reader
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import producer_config
from streamjobs.kafka.reader import Record, read
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import TopicSpec


def settings_for(broker: Broker) -> Settings:
    return load_settings({}, bootstrap_servers=broker.bootstrap)


def create(broker: Broker, topic: str, partitions: int = 2) -> None:
    broker.create_topics([TopicSpec(topic, partitions)])


def read_all(settings: Settings, topic: str, partitions: int = 2) -> list[Record]:
    with Admin(settings) as admin:
        logs = admin.watermarks([(topic, p) for p in range(partitions)])
    return list(read(settings, {p: (log.start, log.end) for p, log in logs.items()}))


def test_everything_is_read_once_and_in_order(any_broker: Broker, app_name: str) -> None:
    # given 3,000 records on two partitions
    settings = settings_for(any_broker)
    create(any_broker, app_name)
    producer = Producer(producer_config(settings))
    for number in range(3000):
        producer.produce(app_name, b"%d" % number, partition=number % 2)
    assert producer.flush(20) == 0
    # when the whole topic is read
    records = read_all(settings, app_name)
    # then each is there once, each partition's in order
    for partition in (0, 1):
        values = [int(r.value or b"") for r in records if r.partition == partition]
        assert values == list(range(partition, 3000, 2))


def test_reading_stops_where_it_was_told_to(any_broker: Broker, app_name: str) -> None:
    settings = settings_for(any_broker)
    create(any_broker, app_name)
    producer = Producer(producer_config(settings))
    for number in range(10):
        producer.produce(app_name, b"%d" % number, partition=0)
    assert producer.flush(20) == 0
    found = list(read(settings, {(app_name, 0): (3, 7), (app_name, 1): (0, 0)}))
    assert [r.offset for r in found] == [3, 4, 5, 6]


def test_a_transaction_just_committed_is_read_and_an_aborted_one_is_not(
    kafka_broker: Broker, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_PATIENCE", 20.0)  # the marker may be late on a busy machine
    settings = settings_for(kafka_broker)
    create(kafka_broker, app_name)
    producer = Producer(producer_config(settings, transactional_id=app_name))
    producer.init_transactions(20)
    for turn in range(10):
        producer.begin_transaction()
        producer.produce(app_name, b"aborted", partition=0)
        producer.flush(10)
        producer.abort_transaction(10)
        producer.begin_transaction()
        producer.produce(app_name, b"%d" % turn, partition=0)
        producer.commit_transaction(10)
        # the commit has returned: its record is found, though its marker may be under way still
        assert [r.value for r in read_all(settings, app_name)] == [
            b"%d" % n for n in range(turn + 1)
        ]


def test_an_open_transaction_ends_the_reading(kafka_broker: Broker, app_name: str) -> None:
    settings = settings_for(kafka_broker)
    create(kafka_broker, app_name)
    plain = Producer(producer_config(settings))
    plain.produce(app_name, b"before", partition=0)
    assert plain.flush(10) == 0
    producer = Producer(producer_config(settings, transactional_id=app_name))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(app_name, b"open", partition=0)
    producer.flush(10)
    began = monotonic()
    assert [r.value for r in read_all(settings, app_name)] == [b"before"]
    assert monotonic() - began < 10
    producer.abort_transaction(10)


def test_keys_headers_and_tombstones_come_as_stored(any_broker: Broker, app_name: str) -> None:
    settings = settings_for(any_broker)
    create(any_broker, app_name)
    headers: list[tuple[str, str | bytes | None]] = [("a", None), ("a", b"\xff"), ("b", b"")]
    producer = Producer(producer_config(settings))
    producer.produce(app_name, None, key=b"\xff\x00", headers=headers, partition=0)
    assert producer.flush(20) == 0
    (record,) = read_all(settings, app_name)
    assert (record.key, record.value, list(record.headers)) == (b"\xff\x00", None, headers)


def test_a_header_whose_name_is_no_text_stops_nothing(any_broker: Broker, app_name: str) -> None:
    # given such records among others, so many that the interpreter specialises the calls
    settings = settings_for(any_broker)
    create(any_broker, app_name)
    producer = Producer(producer_config(settings))
    for _ in range(100):
        producer.produce(app_name, b"sound", headers=[("a", b"1")], partition=0)
    assert producer.flush(20) == 0
    produce_with_header_name(any_broker.bootstrap, app_name, b"\xff\xfe")
    producer.produce(app_name, b"sound", headers=[("a", b"1")], partition=0)
    assert producer.flush(20) == 0
    # then all are read, the hostile one without headers
    sound = (b"sound", (("a", b"1"),))
    records = read_all(settings, app_name)
    assert [(r.value, r.headers) for r in records] == [*[sound] * 100, (b"hostile", ()), sound]


def produce_with_header_name(bootstrap: str, topic: str, name: bytes) -> None:
    """Write a record that no client of a sound language would, by librdkafka's C functions."""
    lib = ctypes.CDLL(cimpl.__file__)
    for function in ("conf_new", "new", "topic_new", "headers_new"):
        getattr(lib, f"rd_kafka_{function}").restype = c_void_p
    reason = ctypes.create_string_buffer(512)
    conf = c_void_p(lib.rd_kafka_conf_new())
    lib.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), reason, 512)
    client = c_void_p(lib.rd_kafka_new(0, conf, reason, 512))
    headers = c_void_p(lib.rd_kafka_headers_new(1))
    lib.rd_kafka_header_add(headers, name, c_ssize_t(len(name)), b"x", c_ssize_t(1))
    handle = c_void_p(lib.rd_kafka_topic_new(client, topic.encode(), None))
    # rd_kafka_vtype_t of rdkafka.h: 2 topic handle, 3 partition, 4 value, 10 headers, 0 end
    failed = lib.rd_kafka_producev(
        client,
        *(c_int(2), handle),
        *(c_int(3), ctypes.c_int32(0)),
        *(c_int(4), c_char_p(b"hostile"), c_size_t(7)),
        *(c_int(10), headers),
        c_int(0),
    )
    assert failed == 0
    assert lib.rd_kafka_flush(client, 10_000) == 0
    lib.rd_kafka_topic_destroy(handle)
    lib.rd_kafka_destroy(client)
