"""How far a group is, as a broker that fails at times tells it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamjobs.kafka import progress
from streamjobs.kafka.progress import GroupProgress
from streamjobs.settings import Settings

MAIN, TIER = "shop.mail", "shop.mail.retry.1s"


class FakeConsumer:
    """Main is done, a job is parked in the tier; of that the broker tells at the second time."""

    def __init__(self, _config: dict[str, Any]) -> None:
        self.asked: list[str] = []

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        self.asked.append(topic)
        if self.asked.count(TIER) == 1 and topic == TIER:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None})})

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        return [TopicPartition(p.topic, p.partition, 0 if p.topic == TIER else 1) for p in asked]

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return 0, 1

    def close(self) -> None: ...


def test_a_group_is_not_done_while_not_all_its_topics_were_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "Consumer", FakeConsumer)

    with GroupProgress(Settings(), MAIN, [MAIN, TIER]) as told:
        assert not told.at_end()
        assert not told.at_end()
