"""Questions that are asked again while a partition's leader moves."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    EnqueueError,
    StreamjobsError,
    TopicsError,
)
from streamjobs.kafka import admin, answers
from streamjobs.kafka.answers import list_offsets
from streamjobs.settings import Settings


class FakeClient:
    """Answers with errors first, then with an offset."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.polls = 0

    def poll(self, _timeout: float) -> None:
        self.polls += 1

    def list_offsets(self, wanted: dict[Any, Any], **_how: Any) -> dict[Any, Future[Any]]:
        future: Future[Any] = Future()
        if self.codes:
            future.set_exception(KafkaException(KafkaError(self.codes.pop(0))))
        else:
            future.set_result(SimpleNamespace(offset=7))
        return dict.fromkeys(wanted, future)


def ask(client: Any) -> dict[tuple[str, int], int]:
    latest: Any = "the client's business"
    return list_offsets(client, Settings(), [("shop.mail", 0)], latest)


def test_while_a_leader_moves_it_is_asked_again() -> None:
    client = FakeClient(
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,
    )

    assert ask(client) == {("shop.mail", 0): 7}
    assert client.polls == 3


def test_a_leader_that_moves_for_ever_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "REQUEST_TIMEOUT", -1.0)

    with pytest.raises(StreamjobsError, match="asking where partitions end"):
        ask(FakeClient(*[KafkaError.NOT_LEADER_FOR_PARTITION] * 3))


def test_a_partition_that_is_not_there_is_named() -> None:
    with pytest.raises(TopicsError, match=r"partitions end: shop\.mail\[0\] does not exist"):
        ask(FakeClient(KafkaError._NOENT))


def test_who_stood_still_for_longer_than_an_answer_takes_is_told_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(FakeClient):
        def list_offsets(self, wanted: dict[Any, Any], **_how: Any) -> dict[Any, Future[Any]]:
            return dict.fromkeys(wanted, Future())

    monkeypatch.setattr(answers, "REQUEST_TIMEOUT", -5.0)

    with pytest.raises(BrokerUnavailable, match="partitions end: no answer from the client"):
        ask(Silent())


def test_any_other_error_is_told_at_once() -> None:
    client = FakeClient(KafkaError.POLICY_VIOLATION)

    with pytest.raises(EnqueueError):
        ask(client)
    assert client.polls == 0


class FakeConsumer:
    """Of a group whose coordinator is just coming up."""

    codes: ClassVar[list[int]] = []

    def __init__(self, _config: dict[str, Any]) -> None:
        self.closed = False

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.codes:
            raise KafkaException(KafkaError(self.codes.pop(0)))
        return [TopicPartition(p.topic, p.partition, 7) for p in wanted]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(admin, "Consumer", FakeConsumer)
    monkeypatch.setattr(admin, "AdminClient", lambda _config: FakeClient())
    with admin.Admin(Settings()) as questions:
        yield questions


def test_while_a_coordinator_moves_it_is_asked_again(questions: Any) -> None:
    FakeConsumer.codes = [
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    ]

    assert questions.committed("shop.mail", [("shop.mail", 0)]) == {("shop.mail", 0): 7}


def test_a_group_that_refuses_us_is_told_at_once(questions: Any) -> None:
    FakeConsumer.codes = [KafkaError.GROUP_AUTHORIZATION_FAILED] * 2

    with pytest.raises(AuthenticationError, match=r"group shop\.mail"):
        questions.committed("shop.mail", [("shop.mail", 0)])
    assert len(FakeConsumer.codes) == 1
