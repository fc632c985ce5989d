"""What a member of a group hears of its partitions, from a consumer that does nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streamjobs.kafka import group
from streamjobs.settings import Settings


class FakeConsumer:
    def __init__(self, config: dict[str, Any]) -> None:
        self.callbacks: dict[str, Any] = {}
        self.member = "m1"
        self.results: list[Any] = []

    def memberid(self) -> str:
        return self.member

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition("shop.mail", 3)]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        return self.results

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks


Heard = list[tuple[str, Any]]


@pytest.fixture
def heard() -> Heard:
    return []


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch, heard: Heard) -> group.GroupConsumer:
    monkeypatch.setattr(group, "Consumer", FakeConsumer)
    return group.GroupConsumer(
        Settings(),
        "shop.mail",
        ["shop.mail"],
        protocol="classic",
        on_assigned=lambda partitions: heard.append(("assigned", partitions)),
        on_revoked=lambda partitions: heard.append(("revoked", partitions)),
        on_lost=lambda partitions: heard.append(("lost", partitions)),
    )


def test_lost_partitions_are_told_apart_from_those_taken_back(
    member: group.GroupConsumer, heard: Heard
) -> None:
    consumer: Any = member._consumer

    for name in ("on_assign", "on_revoke", "on_lost"):
        consumer.callbacks[name](consumer, [TopicPartition("shop.mail", 3)])

    where = [("shop.mail", 3)]
    assert heard == [("assigned", where), ("revoked", where), ("lost", where)]


def test_who_is_in_no_group_commits_nothing_of_what_it_still_holds(
    member: group.GroupConsumer,
) -> None:
    consumer: Any = member._consumer
    offsets = {("shop.mail", 3): (7, "x"), ("shop.mail", 4): (7, "x")}
    assert [(p.partition, p.offset, p.metadata) for p in member.offsets(offsets)] == [(3, 7, "x")]

    consumer.member = ""

    with pytest.raises(group.NotAMember, match=r"shop\.mail"):
        member.offsets(offsets)


def test_a_commit_that_one_partition_refuses_is_refused(member: group.GroupConsumer) -> None:
    class Result(TopicPartition):
        error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)

    consumer: Any = member._consumer
    consumer.results = [TopicPartition("shop.mail", 3, 7), Result("shop.mail", 4, 7)]

    with pytest.raises(group.CommitRefused, match=r"shop\.mail\[4\]"):
        member.commit([])
