"""What is particular to the embedded broker: its limits and its failures."""

from __future__ import annotations

import ctypes.util

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers import LIMITS, Broker, start_broker
from streamjobs.kafka.brokers.embedded import Library
from streamjobs.topics import TopicSpec


def test_it_forgets_all_but_the_last_five_mebibytes_of_a_partition(
    embedded_broker: Broker, app_name: str
) -> None:
    assert "all but the last 5 MiB of each partition" in LIMITS
    embedded_broker.create_topics([TopicSpec(app_name, 1)])
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap, "batch.size": 100_000})
    for _ in range(100):
        producer.produce(app_name, bytes(100_000), partition=0)
    producer.flush(20)

    consumer = Consumer({"bootstrap.servers": embedded_broker.bootstrap, "group.id": app_name})
    low, high = consumer.get_watermark_offsets(TopicPartition(app_name, 0), timeout=10)
    consumer.close()

    assert high == 100
    assert 45 <= high - low <= 53


def test_three_brokers_are_to_be_had(app_name: str) -> None:
    with start_broker("embedded", nodes=3, topics=[TopicSpec(app_name, 6)]) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        assert len(producer.list_topics(timeout=10).brokers) == 3


def test_it_refuses_a_port_since_it_picks_its_own() -> None:
    with pytest.raises(BrokerSetupError, match="leave out port 9092"):
        start_broker("embedded", port=9092)


def test_it_refuses_properties_since_it_has_none() -> None:
    with pytest.raises(BrokerSetupError, match="takes no properties"):
        start_broker("embedded", properties={"num.partitions": "2"})


def test_a_stopped_one_makes_no_topics() -> None:
    broker = start_broker("embedded")
    broker.stop()
    broker.stop()
    with pytest.raises(BrokerSetupError, match="has been stopped"):
        broker.create_topics([TopicSpec("late", 1)])


@pytest.mark.parametrize("path", [ctypes.util.find_library("c") or "", "/no/such/library.so"])
def test_a_library_without_the_functions_is_a_clear_error(path: str) -> None:
    with pytest.raises(BrokerSetupError, match=r"no embedded broker in this build.*--engine kafka"):
        Library(path)
