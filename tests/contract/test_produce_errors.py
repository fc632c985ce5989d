"""Brokers that take a record and do not say so, or cannot take it now: unknown, and tried again.

Only the broker inside librdkafka answers with the error that a test wants; it appends nothing of a
request that it answers so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, cimpl

from streamjobs import App, EnqueueError
from streamjobs.handle import Job
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.cycle import IdempotentProducer
from streamjobs.kafka.reader import read
from streamjobs.worker.commit import Onward

PRODUCE = 0  # the number of that request in Kafka's protocol
# Written, perhaps, but not by all replicas in time; and too few replicas to begin with.
ERRORS = [KafkaError.REQUEST_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS]
SHORT = {"delivery.timeout.ms": "5000", "retry.backoff.max.ms": "100"}
Answer = Callable[[int, int], None]


@pytest.fixture
def app(embedded_broker: Broker, app_name: str) -> Iterator[App]:
    with App(app_name, bootstrap_servers=embedded_broker.bootstrap, kafka=SHORT) as app:
        app.queue("mail", partitions=1)
        embedded_broker.create_topics(app.registry.topic_specs(app_name))
        yield app


@pytest.fixture
def greet(app: App) -> Job[..., None]:
    @app.job(queue="mail")
    def greet(number: int) -> None: ...

    greet.enqueue(0)  # which writes the schema
    return greet


@pytest.fixture
def answer(embedded_broker: Any) -> Answer:
    """Have the next requests to produce answered by an error."""
    push = ctypes.CDLL(cimpl.__file__).rd_kafka_mock_push_request_errors_array
    push.argtypes = [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p]

    def push_errors(code: int, count: int) -> None:
        push(embedded_broker._cluster, PRODUCE, count, (ctypes.c_int * count)(*[code] * count))

    return push_errors


def there(app: App) -> int:
    """How many records the main topic has, the first apart."""
    place = (f"{app.name}.mail", 0)
    with Admin(app.settings) as admin:
        log = admin.watermarks([place])[place]
    return len(list(read(app.settings, {place: (log.start, log.end)}))) - 1


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_that_passes_is_not_seen(
    app: App, greet: Job[..., None], answer: Answer, code: int
) -> None:
    answer(code, 3)
    greet.enqueue(1)
    answer(code, 3)
    app.enqueue_many(greet.call(n) for n in range(2, 10))

    assert there(app) == 9


def test_one_that_stays_is_told_in_time_and_nothing_is_dropped_in_silence(
    app: App, greet: Job[..., None], answer: Answer
) -> None:
    answer(KafkaError.NOT_ENOUGH_REPLICAS, 1000)

    with pytest.raises(EnqueueError) as one:
        greet.enqueue(1)
    with pytest.raises(EnqueueError, match="8 of 8 jobs not acknowledged") as many:
        app.enqueue_many(greet.call(n) for n in range(2, 10))

    assert one.value.retriable
    assert many.value.retriable


def test_a_move_is_no_failed_one_while_it_may_yet_be_there(
    app: App, greet: Job[..., None], answer: Answer
) -> None:
    record = Onward(f"{app.name}.mail", 0, None, b"v")
    producer = IdempotentProducer(app.settings)

    # Answered so for a while, it is there when ``send`` returns
    answer(KafkaError.REQUEST_TIMED_OUT, 3)
    producer.send([record])
    assert there(app) == 1
