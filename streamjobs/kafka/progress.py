"""How far a group is: committed offsets against the ends of its partitions, from the broker."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from streamjobs.kafka.config import consumer_config
from streamjobs.settings import Settings

CALL_TIMEOUT = 5.0


class GroupProgress:
    """Reads one group's progress without being a member of it.

    Works on brokers without administration too, the embedded one among them.

    Args:
        settings: of the process.
        group: the group's id.
        topics: whose partitions count.
        partitions: how many of each topic count; None: all.
    """

    def __init__(
        self, settings: Settings, group: str, topics: Iterable[str], partitions: int | None = None
    ) -> None:
        self._topics, self._count = list(topics), partitions
        # Read uncommitted: the end is the high watermark, records of open transactions included.
        config = consumer_config(settings, group, isolation_level="read_uncommitted")
        self._consumer = Consumer(config)
        self._partitions: list[TopicPartition] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def at_end(self) -> bool:
        """Whether every partition is committed up to its end; False when the broker cannot say."""
        try:
            committed = self._consumer.committed(self._all(), timeout=CALL_TIMEOUT)
            return all(self._done(partition) for partition in committed)
        except KafkaException:
            return False

    def _all(self) -> list[TopicPartition]:
        """The partitions that count, found once, when all topics have been told."""
        if not self._partitions:
            found = []
            for topic in self._topics:
                metadata = self._consumer.list_topics(topic, timeout=CALL_TIMEOUT).topics[topic]
                found += [
                    TopicPartition(topic, p)
                    for p in metadata.partitions
                    if self._count is None or p < self._count
                ]
            self._partitions = found
        return self._partitions

    def _done(self, partition: TopicPartition) -> bool:
        low, high = self._consumer.get_watermark_offsets(partition, timeout=CALL_TIMEOUT)
        if partition.offset == OFFSET_INVALID:
            return bool(low == high)
        # Beyond its end: the log was cut off, or the offset was set by hand, and jobs may wait.
        return bool(partition.offset == high)
