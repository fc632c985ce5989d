"""What every development broker does, embedded or Apache Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.topics import TopicSpec


def partitions(broker: Broker, topic: str) -> int:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    return len(producer.list_topics(topic, timeout=10).topics[topic].partitions)


def test_a_topic_is_made_with_its_partitions(any_broker: Broker, app_name: str) -> None:
    spec = TopicSpec(f"{app_name}.mail", 5, {"cleanup.policy": "delete"})

    any_broker.create_topics([spec])

    assert partitions(any_broker, spec.name) == 5


def test_a_topic_that_is_there_stays_as_it_is(any_broker: Broker, app_name: str) -> None:
    any_broker.create_topics([TopicSpec(f"{app_name}.mail", 2)])
    any_broker.create_topics([TopicSpec(f"{app_name}.mail", 4), TopicSpec(f"{app_name}.other", 1)])
    assert partitions(any_broker, f"{app_name}.mail") == 2


def test_what_is_produced_is_consumed_by_a_group(
    any_broker: Broker, app_name: str, group_protocol: str
) -> None:
    topic = f"{app_name}.mail"
    any_broker.create_topics([TopicSpec(topic, 3)])
    producer = Producer({"bootstrap.servers": any_broker.bootstrap})
    for number in range(100):
        producer.produce(topic, key=str(number % 7), value=str(number))
    assert producer.flush(10) == 0

    consumer = Consumer(
        {
            "bootstrap.servers": any_broker.bootstrap,
            "group.id": topic,
            "group.protocol": group_protocol,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    values: list[int] = []
    while len(values) < 100:
        message = consumer.poll(20)
        assert message is not None, f"only {len(values)} of 100 records came"
        assert message.error() is None, message.error()
        values.append(int(message.value() or b"-1"))
    consumer.close()

    assert sorted(values) == list(range(100))


def test_a_broker_has_one_or_three_nodes() -> None:
    with pytest.raises(BrokerSetupError, match="2 nodes: a development broker has 1 or 3"):
        start_broker("embedded", nodes=2)
