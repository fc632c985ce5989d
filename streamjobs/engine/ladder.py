"""A queue's topics as they are: what is read, what the policy writes to, and who comes first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zlib import crc32

from streamjobs.headers import Origin
from streamjobs.retry import next_tier
from streamjobs.topics import QueueTopics

# Origins of a topic that was deleted and made again come before all of its successor's, and those
# of several such topics have places of their own: two jobs of one key and offset are no copies.
BEFORE_ALL, GONE_TOPICS, GONE_OFFSETS = -(2**63), 2**19, 2**43


class Ordering(StrEnum):
    """What order a queue keeps: per key, none, or one line for a whole partition."""

    KEY = "key"
    NONE = "none"
    PARTITION = "partition"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The topics of a queue, and its policy.

    Attributes:
        topics: the queue's names.
        mains: its main topics, the most urgent priority first.
        reads: every retry tier that exists, name to delay in seconds, ascending.
        writes: the delays of the policy that have a topic, in seconds, ascending.
        topic_ids: of the main topics; a broker that tells none leaves them out, and names serve.
        immediate: how many tries a failed job gets at once, before it uses a rung.
        ordering: what order is kept.
        partitions: how many partitions of each topic are the queue's; of more, which somebody has
            added, nothing is taken. None: all there are.
    """

    topics: QueueTopics
    mains: tuple[str, ...]
    reads: Mapping[str, float]
    writes: tuple[float, ...]
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    immediate: int = 0
    ordering: Ordering = Ordering.KEY
    partitions: int | None = None

    def identity(self, main: str) -> str:
        """What a main topic is called in origins."""
        return self.topic_ids.get(main) or main

    def has(self, number: int) -> bool:
        """Whether a partition of this number is the queue's."""
        return self.partitions is None or number < self.partitions

    def main_of(self, origin: Origin) -> tuple[str, int]:
        """The main topic whose lanes a record belongs to, and its place in their order."""
        return self.place_of(origin.topic_id, origin.offset)

    def place_of(self, topic_id: str, offset: int) -> tuple[str, int]:
        """The main topic and the place of an origin, by its parts."""
        for main in self.mains:
            if (self.topic_ids.get(main) or main) == topic_id:
                return main, offset
        gone = crc32(topic_id.encode()) % GONE_TOPICS
        return self.mains[0], BEFORE_ALL + gone * GONE_OFFSETS + min(offset, GONE_OFFSETS - 1)

    def retry(self, rung: int, retry_after: float | None) -> float | None:
        """The delay of a failed job's next wait in seconds, or None when its ladder is used up."""
        tier = next_tier(rung, retry_after, self.writes)
        return None if tier is None else self.writes[tier]

    def wait(self, seconds: float) -> float | None:
        """The delay of a tier in which to wait for ``seconds``; None to wait in place.

        The shortest that lasts so long, unless that is over twice as long: then the longest that
        does not, and the rest is waited for after that. Where tiers are far apart, such as 10 s and
        an hour, a line whose next job is not in memory would else stand still for most of the hour.
        In place is waited where there are no tiers, and where the whole partition is one line.
        """
        if not self.writes or self.ordering is Ordering.PARTITION:
            return None
        longer = bisect_left(self.writes, seconds)
        if longer == len(self.writes):
            return self.writes[-1]
        if longer and self.writes[longer] > 2 * seconds:
            return self.writes[longer - 1]
        return self.writes[longer]
