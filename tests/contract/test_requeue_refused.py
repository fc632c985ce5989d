"""Where dead letters cannot be put back exactly once, none is; and what the DLQ no longer has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamjobs.deadletters import read_dead_letters
from streamjobs.errors import SettingsError, TopicsError
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.config import producer_config
from streamjobs.requeue import Fate, Requeue, Result
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import QueueTopics, TopicSpec, queue_specs


class Anything:
    """Describes every value as a job whose id is the value."""

    def describe(self, value: bytes | None, /) -> Any:
        return SimpleNamespace(id=(value or b"").decode(), job="send", args={})


def bury(settings: Settings, topic: str, *values: bytes) -> None:
    producer = Producer(producer_config(settings))
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0


def requeue(settings: Settings, topics: QueueTopics, *names: str) -> list[Result]:
    return list(Requeue(settings, topics, Anything()).run(names))


def fates(settings: Settings, topics: QueueTopics, *names: str) -> list[tuple[str, Fate]]:
    return [(result.name, result.fate) for result in requeue(settings, topics, *names)]


def test_without_transactions_dead_letters_are_listed_and_not_put_back() -> None:
    # given the embedded broker with a dead letter
    topics = QueueTopics("shop", "mail")
    with start_broker("embedded", topics=queue_specs(topics, partitions=1, delays=[])) as broker:
        settings = load_settings({}, bootstrap_servers=broker.bootstrap)
        bury(settings, topics.dlq, b"a")
        # then it is listed, and putting it back is refused: with a reason, under either setting
        assert [x.id for x in read_dead_letters(settings, topics, Anything())] == ["a"]
        with pytest.raises(SettingsError, match="the embedded broker has no transactions"):
            requeue(settings, topics, "a")
        idempotent = settings.model_copy(update={"delivery": "idempotent"})
        with pytest.raises(SettingsError, match="STREAMJOBS_DELIVERY=transactional"):
            requeue(idempotent, topics, "a")


def test_topics_that_do_not_fit_are_named(kafka_broker: Broker, app_name: str) -> None:
    # given a queue of a release that had no marks
    settings = load_settings({}, bootstrap_servers=kafka_broker.bootstrap)
    topics = QueueTopics(app_name, "mail")
    kafka_broker.create_topics([TopicSpec(topics.main, 2), TopicSpec(topics.dlq, 2)])
    bury(settings, topics.dlq, b"a")
    # then its dead letters are listed, and putting one back names what is missing
    assert [x.id for x in read_dead_letters(settings, topics, Anything())] == ["a"]
    with pytest.raises(TopicsError, match=f"{topics.marks} does not exist.*topics apply"):
        requeue(settings, topics, "a")
    # and with another number of partitions it stays where it is too
    kafka_broker.create_topics([TopicSpec(topics.marks, 1)])
    with pytest.raises(TopicsError, match=rf"partition counts \(.*{topics.marks} 1\)"):
        requeue(settings, topics, "a")


def test_what_retention_has_deleted_is_named_and_a_new_dlq_begins_anew(
    kafka_broker: Broker, app_name: str
) -> None:
    # given dead letters of which the first was put back, and deleted since
    settings = load_settings({}, bootstrap_servers=kafka_broker.bootstrap)
    topics = QueueTopics(app_name, "mail")
    specs = queue_specs(topics, partitions=1, delays=[])
    kafka_broker.create_topics(specs)
    bury(settings, topics.dlq, b"a", b"b", b"c")
    assert fates(settings, topics, "a", "c") == [("a", Fate.REQUEUED), ("c", Fate.REQUEUED)]
    client = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    (deleted,) = client.delete_records([TopicPartition(topics.dlq, 0, 1)]).values()
    deleted.result(10)
    # then it is told apart from what never was, and the others are as they were
    assert fates(settings, topics, "0:0", "0:9", "b", "c") == [
        ("b", Fate.REQUEUED),
        ("0:0", Fate.TRIMMED),
        ("0:9", Fate.UNKNOWN),
        ("c", Fate.ALREADY),
    ]
    # and when the DLQ itself is deleted and made anew, old marks hide none of the new letters
    (gone,) = client.delete_topics([topics.dlq], operation_timeout=10).values()
    gone.result(10)
    kafka_broker.create_topics([spec for spec in specs if spec.name == topics.dlq])
    bury(settings, topics.dlq, b"d", b"e", b"f")
    assert not any(x.taken for x in read_dead_letters(settings, topics, Anything()))
    assert fates(settings, topics, "f") == [("f", Fate.REQUEUED)]


def test_what_main_does_not_take_stays_and_is_named(kafka_broker: Broker, app_name: str) -> None:
    # given a dead letter larger than its main topic takes, between others
    settings = load_settings({}, bootstrap_servers=kafka_broker.bootstrap)
    topics = QueueTopics(app_name, "mail")
    small = TopicSpec(topics.main, 1, {"max.message.bytes": "2000"})
    kafka_broker.create_topics([small, *queue_specs(topics, partitions=1, delays=[])[1:]])
    bury(settings, topics.dlq, b"a", b"b" * 4_000, b"c")
    # when all are put back
    first, large, last = requeue(settings, topics, "a", "0:1", "c")
    # then it alone stays, and its reason is told
    assert (first.fate, large.fate, last.fate) == (Fate.REQUEUED, Fate.REFUSED, Fate.REQUEUED)
    assert "dead letter 0:1 stays in the DLQ: not delivered" in (large.problem or "")
    assert f"{topics.main}[0]: Broker: Message size too large" in (large.problem or "")
    letters = read_dead_letters(settings, topics, Anything())
    assert [letter.taken for letter in letters] == [True, False, True]
