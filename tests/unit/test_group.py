"""What a member of a group hears of its partitions, from a consumer that does nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streamjobs.kafka import group
from streamjobs.settings import Settings


class FakeConsumer:
    def __init__(self, config: dict[str, Any]) -> None:
        self.callbacks: dict[str, Any] = {}

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks


def test_lost_partitions_are_told_apart_from_those_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "Consumer", FakeConsumer)
    heard: list[tuple[str, Any]] = []
    member = group.GroupConsumer(
        Settings(),
        "shop.mail",
        ["shop.mail"],
        protocol="classic",
        on_assigned=lambda partitions: heard.append(("assigned", partitions)),
        on_revoked=lambda partitions: heard.append(("revoked", partitions)),
        on_lost=lambda partitions: heard.append(("lost", partitions)),
    )
    consumer: Any = member._consumer

    for name in ("on_assign", "on_revoke", "on_lost"):
        consumer.callbacks[name](consumer, [TopicPartition("shop.mail", 3)])

    where = [("shop.mail", 3)]
    assert heard == [("assigned", where), ("revoked", where), ("lost", where)]
