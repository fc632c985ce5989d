"""What another reader than the consumer may bring, while the consumer hands nothing over."""

from __future__ import annotations

from collections.abc import Iterable

from streamjobs.engine.records import Log

Partition = tuple[str, int]


class Ahead:
    """The partitions that are read by another reader, from where the engine stands, in order.

    What the consumer brings of them afterwards is dropped by its offset. What arrives of one that
    was paused meanwhile is dropped from there on: the consumer brings it when it is resumed.
    """

    def __init__(self) -> None:
        self._logs: dict[Partition, Log] = {}

    def begin(self, logs: Iterable[Log]) -> dict[Partition, int]:
        """Return from where on these may be read, of those of which something may begin."""
        self._logs = {(x.topic, x.partition): x for x in logs if x.begins and _reads(x)}
        positions = {p: log.watermark.position for p, log in self._logs.items()}
        return {p: position for p, position in positions.items() if position is not None}

    def wants(self, partition: Partition) -> bool:
        """Whether what arrives of a partition is to be taken in."""
        log = self._logs.get(partition)
        if log is not None and log.live and _reads(log):
            return True
        self._logs.pop(partition, None)
        return False


def _reads(log: Log) -> bool:
    """Whether the next record of a partition is wanted now."""
    return not log.paused and not log.stale and log.refetch is None
