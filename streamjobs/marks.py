"""Which dead letters were taken: the marks of a queue's ``marks`` topic, as a bit for each.

Whoever takes a dead letter writes its mark in the same transaction: key ``dlq:PARTITION:OFFSET``,
value ``requeued:TOPICID`` with the id of the DLQ's topic, in the partition of the dead letter. The
topic is compacted, so a mark outlives its dead letter and costs a few bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamjobs.kafka.admin import Admin, TopicInfo
from streamjobs.kafka.reader import Ranges, Record, read
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

_KEY = re.compile(rb"dlq:(\d{1,10}):(\d{1,19})")
_VALUE = b"requeued:"

Place = tuple[int, int]


def mark_key(partition: int, offset: int) -> bytes:
    """Return the key of a dead letter's mark."""
    return b"dlq:%d:%d" % (partition, offset)


def mark_value(topic_id: str) -> bytes:
    """Return the value of the mark of a dead letter that was put back."""
    return _VALUE + topic_id.encode()


class Taken:
    """The dead letters that were taken, among those there are: ``(partition, offset) in taken``.

    Args:
        topic_id: of the DLQ. A mark that names another id is of a topic that was deleted, and says
            nothing; one that names none counts, so that nothing is ever put back twice.
        ranges: partition to (first offset, offset to stop before); marks of others are left out,
            which bounds the memory to a bit for each offset.
    """

    def __init__(self, topic_id: str, ranges: Mapping[int, tuple[int, int]]) -> None:
        self._topic_id = topic_id.encode()
        self._starts = {partition: start for partition, (start, _) in ranges.items()}
        self._sizes = {partition: max(0, end - start) for partition, (start, end) in ranges.items()}
        self._bits: dict[int, bytearray] = {}

    def see(self, marks: Iterable[Record]) -> None:
        """Take in marks in the order in which they were written."""
        for mark in marks:
            named = _KEY.fullmatch(mark.key or b"")
            if named is not None:
                self._set(int(named[1]), int(named[2]), taken=self._counts(mark.value))

    def __contains__(self, place: Place) -> bool:
        partition, offset = place
        index = self._index(partition, offset)
        bits = self._bits.get(partition)
        return bits is not None and index is not None and bool(bits[index >> 3] & 1 << (index & 7))

    def _counts(self, value: bytes | None) -> bool:
        if value is None:
            return False
        named = value.removeprefix(_VALUE) if value.startswith(_VALUE) else b""
        return not named or not self._topic_id or named == self._topic_id

    def _index(self, partition: int, offset: int) -> int | None:
        index = offset - self._starts.get(partition, 0)
        return index if 0 <= index < self._sizes.get(partition, 0) else None

    def _set(self, partition: int, offset: int, *, taken: bool) -> None:
        index = self._index(partition, offset)
        if index is None:
            return
        bits = self._bits.setdefault(partition, bytearray((self._sizes[partition] + 7) // 8))
        if taken:
            bits[index >> 3] |= 1 << (index & 7)
        else:
            bits[index >> 3] &= ~(1 << (index & 7))


@dataclass(frozen=True)
class DeadLog:
    """A queue's DLQ at one moment.

    Attributes:
        topic_id: of the topic; empty where the broker has none.
        ranges: each partition's first offset, and the offset that the next record will get.
        taken: which of its dead letters were put back.
    """

    topic_id: str
    ranges: Ranges
    taken: Taken


def survey(settings: Settings, topics: QueueTopics, *, whole: bool = True) -> DeadLog:
    """Look where a queue's DLQ begins and ends, and read its marks to their end.

    A queue without a marks topic, of a release that had none, has nothing taken.

    Args:
        settings: of the process.
        topics: of the queue.
        whole: wait for open transactions to end, rather than miss the marks behind them.

    Raises:
        TopicsError: there is no DLQ.
        BrokerUnavailable: the marks could not be read to their end.
    """
    with Admin(settings) as admin:
        infos = admin.topics([topics.dlq, topics.marks])
        # Asked for all the same where it is missing: that error names the mending command.
        dlq = infos.get(topics.dlq, TopicInfo(1, ""))
        marks = infos.get(topics.marks, TopicInfo(0, ""))
        dead = _ends(admin, topics.dlq, dlq.partitions)
        noted = _ends(admin, topics.marks, marks.partitions)
    taken = Taken(dlq.topic_id, {partition: ends for (_, partition), ends in dead.items()})
    taken.see(read(settings, noted, whole=whole))
    return DeadLog(dlq.topic_id, dead, taken)


def _ends(admin: Admin, topic: str, partitions: int) -> Ranges:
    places = [(topic, number) for number in range(partitions)]
    return {place: (log.start, log.end) for place, log in admin.watermarks(places).items()}
