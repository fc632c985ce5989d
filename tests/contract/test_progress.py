"""Whether a group is at its end, as a worker that drains asks it, on both engines."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import consumer_config, producer_config
from streamjobs.kafka.progress import GroupProgress
from streamjobs.settings import load_settings
from streamjobs.topics import TopicSpec


def test_a_group_is_at_its_end_when_every_partition_is_committed_to_it(
    any_broker: Broker, app_name: str
) -> None:
    settings = load_settings({}, bootstrap_servers=any_broker.bootstrap)
    any_broker.create_topics([TopicSpec(app_name, 2)])
    consumer = Consumer(consumer_config(settings, app_name))
    with GroupProgress(settings, app_name, [app_name]) as progress:
        # Nothing was ever there, and nothing was committed; a broker just started cannot say so.
        deadline = monotonic() + 30
        while not progress.at_end():
            assert monotonic() < deadline

        producer = Producer(producer_config(settings))
        for number in range(3):
            producer.produce(app_name, b"%d" % number, partition=1)
        assert producer.flush(20) == 0
        answers = [progress.at_end()]

        for offset in (2, 3):
            consumer.commit(offsets=[TopicPartition(app_name, 1, offset)], asynchronous=False)
            answers.append(progress.at_end())
    consumer.close()

    # No commit at all, and one below the end, are not the end.
    assert answers == [False, False, True]
