"""Three nodes: what was acknowledged survives the loss of any one of them."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.admin import Admin, GroupLimits
from streamjobs.kafka.brokers import Broker
from streamjobs.settings import load_settings
from streamjobs.topics import TopicSpec


def test_a_killed_node_loses_nothing_and_comes_back(kafka_cluster: Broker, app_name: str) -> None:
    kafka_cluster.create_topics([TopicSpec(app_name, 3)])
    producer = Producer(
        {
            "bootstrap.servers": kafka_cluster.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 0,
            "log_level": "0",
        }
    )
    acknowledged = []

    def produce(count: int) -> None:
        for number in range(count):
            producer.produce(app_name, str(number), on_delivery=lambda e, _: acknowledged.append(e))
        assert producer.flush(30) == 0

    produce(100)
    for node in kafka_cluster.nodes[:2]:
        node.kill()
        try:
            produce(100)
        finally:
            node.start()  # later tests need it
        assert producer.list_topics(app_name, timeout=10).brokers
    kafka_cluster.check()

    assert acknowledged == [None] * 300
    consumer = Consumer({"bootstrap.servers": kafka_cluster.bootstrap, "group.id": app_name})
    ends = [
        consumer.get_watermark_offsets(TopicPartition(app_name, p), timeout=20)[1] for p in range(3)
    ]
    consumer.close()
    assert sum(ends) == 300


def test_a_node_stops_in_good_order_and_comes_back(kafka_cluster: Broker) -> None:
    node = kafka_cluster.nodes[2]
    node.stop()
    node.stop()
    try:
        kafka_cluster.check()  # ended on purpose: no error
    finally:
        node.start()
    node.start()


def test_a_node_that_ends_by_itself_is_noticed(kafka_cluster: Broker) -> None:
    node = kafka_cluster.nodes[0]
    guard = node._guard  # type: ignore[attr-defined]
    guard.kill()
    guard.wait(10)

    try:
        with pytest.raises(BrokerSetupError, match=f"Kafka on {node.address} has ended by itself"):
            kafka_cluster.check()
    finally:
        guard.stdin.close()
        node.start()  # later tests need it


def test_every_node_is_asked_how_much_it_keeps_beside_an_offset(kafka_cluster: Broker) -> None:
    settings = load_settings({}, bootstrap_servers=kafka_cluster.bootstrap)

    with Admin(settings) as admin:
        assert admin.group_limits() == GroupLimits(4_096, 7 * 24 * 60)
