"""The answers to an admin client's questions, and the question where partitions end."""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    OffsetSpec,
)

from streamjobs.clock import monotonic
from streamjobs.errors import TopicsError
from streamjobs.kafka.failures import kafka_error, translate, unanswered
from streamjobs.kafka.plan import APPLY
from streamjobs.settings import Settings

REQUEST_TIMEOUT = 10.0
# A leader that the metadata names, and that does not know yet, or no longer, that it is one; and
# what a new client says of a partition whose leader it has not heard of yet (librdkafka 2.16).
_LEADER_MOVES = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,
    }
)
# The same of a group's coordinator.
COORDINATOR_MOVES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)

K = TypeVar("K")


def gather(
    futures: Mapping[K, Future[Any]], doing: str, settings: Settings, *absent: int
) -> dict[K, Any]:
    """Wait for every answer; leave out those whose error is one of ``absent``.

    Raises:
        TopicsError: a topic does not exist.
        BrokerUnavailable: no answer.
        StreamjobsError: any other error, in our words.
    """
    answers = {}
    for key, future in futures.items():
        try:
            answers[key] = future.result(REQUEST_TIMEOUT + 5)
        except TimeoutError as error:
            raise unanswered(doing, settings) from error
        except KafkaException as error:
            code = kafka_error(error).code()
            if code in absent:
                continue
            if code == KafkaError._NOENT:
                what = f"{key[0]}[{key[1]}]" if isinstance(key, tuple) else key
                raise TopicsError(
                    f"{doing}: {what} does not exist or has no leader; "
                    f"'{APPLY}' creates what is missing"
                ) from error
            raise translate(error, doing, settings) from error
    return answers


def list_offsets(
    client: AdminClient,
    settings: Settings,
    partitions: Sequence[tuple[str, int]],
    spec: OffsetSpec,
) -> dict[tuple[str, int], int]:
    """Return an offset of each partition; asks again while leaders move.

    Raises:
        TopicsError: a topic does not exist.
        StreamjobsError: any other error, in our words.
    """
    doing = "asking where partitions end"
    deadline = monotonic() + REQUEST_TIMEOUT
    while partitions:
        try:
            asked = client.list_offsets(
                {TopicPartition(topic, p): spec for topic, p in partitions},
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=REQUEST_TIMEOUT,
            )
        except KafkaException as error:
            raise translate(error, doing, settings) from error
        futures = {(tp.topic, tp.partition): future for tp, future in asked.items()}
        if monotonic() > deadline or not any(map(_leader_moves, futures.values())):
            answer = gather(futures, doing, settings)
            return {partition: info.offset for partition, info in answer.items()}
        client.poll(0.1)
    return {}


def _leader_moves(future: Future[Any]) -> bool:
    try:
        error = future.exception(REQUEST_TIMEOUT + 5)
    except TimeoutError:
        return False  # which is told as all else is
    return isinstance(error, KafkaException) and kafka_error(error).code() in _LEADER_MOVES
