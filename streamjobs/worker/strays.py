"""Partitions whose log does not have the offset to be read next: it was deleted, or never was.

What the client would do by itself is to go on elsewhere and say nothing. Here it is found out what
has happened, and told:

- The log begins later: retention, or somebody, deleted records before the group was past them.
  Nothing brings them back, and what follows would be deleted next, so it goes on with what is left.
- The topic was deleted and made again: it is read from its beginning.
- The log ends earlier: it was cut off (an unclean election, a restored backup), or somebody set the
  offset. Where to go on is not known. It stands still until somebody says, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from streamjobs.wording import counted

logger = logging.getLogger("streamjobs.worker")

Partition = tuple[str, int]
# librdkafka's OFFSET_BEGINNING.
BEGINNING = -2
# Seconds before a broker that had no answer is asked again.
RETRY = 1.0


class Reader(Protocol):
    """What reads the partitions; see ``GroupConsumer``."""

    def marks(self, partition: Partition) -> tuple[int, int] | None: ...  # noqa: D102
    def seek(self, partition: Partition, offset: int) -> None: ...  # noqa: D102


class Strays:
    """Decides where partitions go on whose next offset is not in their log.

    Args:
        group: the queue's group, for the log.
        reader: reads them.
        is_another: whether a topic was made anew since the worker joined; None: not known yet.
        from_earliest: whether to begin anew where the log ends before the offset.

    Attributes:
        standing: those that stand still, and why.
    """

    def __init__(
        self,
        group: str,
        reader: Reader,
        is_another: Callable[[str], bool | None],
        from_earliest: bool,
    ) -> None:
        self._group, self._reader, self._is_another = group, reader, is_another
        self._from_earliest = from_earliest
        self._asked: dict[Partition, int] = {}
        self._again = 0.0
        self.standing: dict[Partition, str] = {}

    @property
    def open(self) -> bool:
        """Whether the broker has to be asked again about some."""
        return bool(self._asked)

    @property
    def troubles(self) -> list[str]:
        """Why some stand still, a sentence each; called by any thread."""
        return [why for _, why in sorted([*self.standing.items()])]

    def find(self, strayed: Iterable[tuple[str, int, int]], now: float) -> int:
        """Find out where these go on, and those before that had no answer.

        Args:
            strayed: topic, partition number and the offset that was to be read.
            now: seconds of the monotonic clock.

        Returns:
            How many offsets were deleted before the group was past them.
        """
        news = {(topic, number): offset for topic, number, offset in strayed}
        self._asked |= news
        if not news and now < self._again:
            return 0
        self._again = now + RETRY
        return sum(self._settle(place, offset) for place, offset in list(self._asked.items()))

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are not ours any more."""
        for place in partitions:
            self._asked.pop(place, None)
            self.standing.pop(place, None)

    def _settle(self, place: Partition, offset: int) -> int:
        marks = self._reader.marks(place)
        if marks is None:
            return 0
        low, high = marks
        if low <= offset <= high:
            self._go_on(place, offset)  # the leader has changed meanwhile
        elif offset < low:
            self._tell_deleted(place, offset, low)
            self._go_on(place, low)
            return low - offset
        else:
            self._settle_beyond(place, offset, high)
        return 0

    def _settle_beyond(self, place: Partition, offset: int, high: int) -> None:
        another = self._is_another(place[0])
        if another:
            logger.error(
                "group %s: topic %s was deleted and made again; it is read from its beginning",
                self._group,
                place[0],
            )
            self._go_on(place, BEGINNING)
        elif self._from_earliest:
            logger.warning(
                "group %s: %s[%d] ends at %d, before offset %d; it is read from its beginning, as "
                "--from earliest says: finished jobs run again",
                *(self._group, *place, high, offset),
            )
            self._go_on(place, BEGINNING)
        elif another is not None:
            self._stand_still(place, offset, high)

    def _stand_still(self, place: Partition, offset: int, high: int) -> None:
        del self._asked[place]
        topic, number = place
        why = (
            f"{topic}[{number}] stands still: its log ends at {high}, and offset {offset} is to be "
            "read next: the log was cut off, or the group's offset was set by hand. Restart with "
            "'worker --from earliest', which runs what is left of it again, or stop the workers "
            "and set it: kafka-consumer-groups.sh --bootstrap-server HOST:PORT "
            f"--group {self._group} --topic {topic}:{number} "
            f"--reset-offsets --to-offset {high} --execute"
        )
        self.standing[place] = why
        logger.error("group %s: %s", self._group, why)

    def _tell_deleted(self, place: Partition, offset: int, low: int) -> None:
        logger.error(
            "group %s: offsets %d to %d of %s[%d] were deleted before their jobs were done, up to "
            "%s: by retention, or by hand. They are lost; it goes on with offset %d. Let the "
            "queue keep jobs for longer (retention=), and let an alarm look at its lag",
            *(self._group, offset, low - 1, *place, counted(low - offset, "job"), low),
        )

    def _go_on(self, place: Partition, offset: int) -> None:
        del self._asked[place]
        self._reader.seek(place, offset)
