"""On brokers that make topics by themselves, Kafka's default, none of ours is made by asking.

A topic made so has the broker's number of partitions and settings, not the queue's, and nobody
would hear that one was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streamjobs import App
from streamjobs.clock import monotonic
from streamjobs.errors import StreamjobsError
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.cycle import IdempotentProducer, TransactionalProducer
from streamjobs.kafka.failures import list_topics
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.testing import GroupProtocol, need_kafka
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import Onward


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    need_kafka(own=True)
    with start_broker("kafka", properties={"auto.create.topics.enable": "true"}) as broker:
        yield broker


@pytest.fixture
def app(broker: Broker, app_name: str) -> Iterator[App]:
    short = {"delivery.timeout.ms": "5000"}
    with App(app_name, bootstrap_servers=broker.bootstrap, kafka=short) as app:
        yield app


def topics(broker: Broker) -> set[str]:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    return set(admin.list_topics(timeout=5).topics)


def was_made(broker: Broker, *names: str) -> set[str]:
    """Which of these topics there are by now, once one is there that another client asks for."""
    asked = f"asked-{uuid4()}"
    Producer({"bootstrap.servers": broker.bootstrap}).list_topics(asked, timeout=5)
    deadline = monotonic() + 20
    while asked not in (there := topics(broker)):
        assert monotonic() < deadline, "this broker makes no topics by itself"
    return there.intersection(names)


def delete(broker: Broker, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_topics([topic])[topic].result(10)
    while topic in topics(broker):
        admin.poll(0.05)


@pytest.mark.parametrize("known", [True, False])
def test_what_is_enqueued_makes_no_topic(broker: Broker, app: App, known: bool) -> None:
    # given a queue whose main topic is deleted, after a job or before any
    app.queue("mail", partitions=2)

    @app.job(queue="mail")
    def greet(number: int) -> None: ...

    with Admin(app.settings) as admin:
        admin.apply(admin.plan(app.registry.topic_specs(app.prefix)))
    if known:
        greet.enqueue(1)
    topic = f"{app.name}.mail"
    delete(broker, topic)

    # when a job is enqueued, alone and with others, then it fails, and there is no topic
    with pytest.raises(StreamjobsError):
        greet.enqueue(2)
    with pytest.raises(StreamjobsError):
        app.enqueue_many([greet.call(3), greet.call(4)])
    assert not was_made(broker, topic)


def test_no_move_and_no_question_makes_one(
    broker: Broker, app: App, group_protocol: GroupProtocol
) -> None:
    # given a member of a group, whose second topic and DLQ are not there
    main, tier, dlq = (f"{app.name}.{name}" for name in ("main", "tier", "dlq"))
    broker.create_topics([TopicSpec(main, 1)])
    owned: list[tuple[str, int]] = []
    consumer = GroupConsumer(
        app.settings,
        app.name,
        [main, tier],
        protocol=group_protocol,
        on_assigned=owned.extend,
        on_revoked=lambda _: None,
        on_lost=lambda _: None,
    )
    try:
        while not owned:
            consumer.poll(0.1)

        # when something is to be written there, and all that a worker asks is asked
        transactional, idempotent = (
            TransactionalProducer(app.settings, app.name),
            IdempotentProducer(app.settings),
        )
        offsets = [TopicPartition(main, 0, 0)]
        sends: list[Callable[[list[Onward]], None]] = [
            lambda records: transactional.send(records, offsets, consumer.metadata, lambda: None),
            idempotent.send,
        ]
        for send in sends:
            with pytest.raises(CycleFailed) as caught:
                send([Onward(dlq, 0, None, b"v")])
            assert caught.value.refused == {(dlq, 0): f"{dlq} does not exist"}
        assert idempotent.missing({main, tier, dlq}) == {tier, dlq}
        deadline = monotonic() + 20
        while (there := consumer.topics()) is None:  # it waits a second for an answer
            assert monotonic() < deadline
        assert main in there
        consumer.marks((tier, 0))
        with Admin(app.settings) as admin:
            assert set(admin.described([main, tier, dlq])) == {main}
            assert set(admin.topics([main, tier, dlq])) == {main}
            admin.committed(app.name, [(tier, 0)])
        list_topics(app.settings)
        consumer.poll(0.5)
    finally:
        consumer.close()

    # then they are not there still
    assert not was_made(broker, tier, dlq)
