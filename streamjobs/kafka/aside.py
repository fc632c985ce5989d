"""Reading partitions as a member of nothing: what a member owns while it may not poll itself."""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streamjobs.kafka.config import consumer_config
from streamjobs.settings import Settings

Partition = tuple[str, int]
# consume(n, 0) returns what is prefetched, up to n; more makes a turn of the loop long, not fast.
BATCH = 999
# Where an offset is not in the log the client would go on somewhere else, and say nothing.
NEVER_ELSEWHERE = {"auto_offset_reset": "error"}


class Stray(NamedTuple):
    """A partition whose log does not have the offset to be read next.

    Attributes:
        topic, number: which.
        offset: that offset.
        cut: where the log was cut off below what was read of it, as far as the client knows:
            others may stand from there on. None: it was not.
    """

    topic: str
    number: int
    offset: int
    cut: int | None = None


@dataclass(slots=True)
class Polled:
    """What one poll brought.

    Attributes:
        messages: records in order.
        ends: partitions whose end was reached, with its offset.
        strayed: those whose log does not have the offset to be read next; nothing more is fetched
            of them before a ``seek``.
    """

    messages: list[Any] = field(default_factory=list)
    ends: list[tuple[str, int, int]] = field(default_factory=list)
    strayed: list[Stray] = field(default_factory=list)


class AsideReader:
    """Reads partitions that a member owns, as a member of nothing, while that may not poll.

    Args:
        settings: of the process.
        group: of the member.
        positions: where to begin, by partition.
    """

    def __init__(self, settings: Settings, group: str, positions: Mapping[Partition, int]) -> None:
        self._consumer = Consumer(consumer_config(settings, group, **NEVER_ELSEWHERE))
        self._consumer.assign([TopicPartition(*pair, at) for pair, at in positions.items()])

    def poll(self) -> Polled:
        """Return what is there, without waiting; errors are told to the member too, so not here."""
        polled = Polled()
        for message in self._consumer.consume(BATCH, 0):
            error = message.error()
            if error is None:
                polled.messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                polled.ends.append(
                    (message.topic() or "", message.partition() or 0, message.offset() or 0)
                )
        return polled

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()
