"""Partitions whose log does not have the offset to be read next: it was deleted, or never was.

What the client would do by itself is to go on elsewhere and say nothing. Here it is found out what
has happened, and told:

- The log begins later: retention, or somebody, deleted records before the group was past them.
  Nothing brings them back, and what follows would be deleted next, so it goes on with what is left.
- The topic was deleted and made again: it is read from its beginning.
- The log ends earlier: it was cut off (an unclean election, a restored backup), or somebody set the
  offset. Where to go on is not known. It stands still until somebody says, and the others go on.
- The log was cut off and has grown again: the client finds that out by leader epochs (KIP-320), of
  what it has read itself. Jobs stand there that nobody has read, so this stands still as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from streamjobs.kafka.aside import Stray
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
        deleted: told of a partition that is about to go on behind deleted records; False: not yet.

    Attributes:
        standing: those that stand still, and why.
    """

    def __init__(
        self,
        group: str,
        reader: Reader,
        is_another: Callable[[str], bool | None],
        from_earliest: bool,
        deleted: Callable[[Partition], bool] = lambda _: True,
    ) -> None:
        self._group, self._reader, self._is_another = group, reader, is_another
        self._from_earliest, self._deleted = from_earliest, deleted
        self._asked: dict[Partition, Stray] = {}
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

    def find(self, strayed: Iterable[Stray], now: float) -> int:
        """Find out where these go on, and those before that had no answer.

        Args:
            strayed: what the client has told.
            now: seconds of the monotonic clock.

        Returns:
            How many offsets were deleted before the group was past them.
        """
        news = {(stray.topic, stray.number): stray for stray in strayed}
        self._asked |= news
        if not news and now < self._again:
            return 0
        self._again = now + RETRY
        deleted = 0
        for place, stray in list(self._asked.items()):
            found = self._settle(place, stray)
            if found is None:
                # One that does not answer takes its time, and this is the loop's. The others first.
                self._asked[place] = self._asked.pop(place)
                break
            deleted += found
        return deleted

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These are not ours any more."""
        for place in partitions:
            self._asked.pop(place, None)
            self.standing.pop(place, None)

    def _settle(self, place: Partition, stray: Stray) -> int | None:
        """How many offsets were deleted; None: the broker does not answer."""
        marks = self._reader.marks(place)
        if marks is None:
            return None
        low, high = marks
        if stray.cut is not None or stray.offset > high:
            self._settle_beyond(place, stray, low, high)
        elif stray.offset >= low:
            logger.warning(
                "group %s: %s[%d] did not have offset %d, and has it by now: its leader had not "
                "heard of it, or the log was cut off, and jobs stand below that are not read",
                *(self._group, *place, stray.offset),
            )
            self._go_on(place, stray.offset)
        elif not self._deleted(place):
            return None
        else:
            self._tell_deleted(place, stray.offset, low)
            self._go_on(place, low)
            return low - stray.offset
        return 0

    def _settle_beyond(self, place: Partition, stray: Stray, low: int, high: int) -> None:
        another = self._is_another(place[0])
        if another:
            logger.error(
                "group %s: topic %s was deleted and made again; it is read from its beginning",
                self._group,
                place[0],
            )
            self._go_on(place, BEGINNING)
        elif self._from_earliest and stray.cut is None:
            logger.warning(
                "group %s: %s[%d] ends at %d, before offset %d; it is read from its beginning, as "
                "--from earliest says: finished jobs run again",
                *(self._group, *place, high, stray.offset),
            )
            self._go_on(place, BEGINNING)
        elif another is not None:
            self._stand_still(place, stray, low, high)

    def _stand_still(self, place: Partition, stray: Stray, low: int, high: int) -> None:
        del self._asked[place]
        topic, number = place
        if stray.cut is None:
            to = high
            found = (
                f"its log ends at {high}, and offset {stray.offset} is to be read next: the log "
                "was cut off, or the group's offset was set by hand. Restart with 'worker --from "
                "earliest', which runs what is left of it again, or stop the workers and set it"
            )
        else:
            to = max(low, stray.cut)
            found = (
                f"its log was cut off at {to}, below what was read of it (an unclean election), "
                f"and ends at {high} by now: jobs that were written there since are not read. "
                "Stop the workers and set the group's offset"
            )
        why = (
            f"{topic}[{number}] stands still: {found}: kafka-consumer-groups.sh "
            f"--bootstrap-server HOST:PORT --group {self._group} --topic {topic}:{number} "
            f"--reset-offsets --to-offset {to} --execute"
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
