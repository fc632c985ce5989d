"""Taking shards: what has to be known and committed before the first job of a shard may start.

In this order, for each shard: the stable committed offsets of all its partitions, with what stands
beside them; a commit that says whose they are now, so that whoever comes after a crash knows it;
the high watermarks of its tiers. The broker is asked beside the loop, which goes on with others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamjobs.clock import wall
from streamjobs.engine.decide import MAX_CRASHES
from streamjobs.engine.engine import Engine
from streamjobs.engine.metadata import (
    NOTHING,
    ROOM,
    Committed,
    Metadata,
    Note,
    pack,
)
from streamjobs.engine.outbox import Flow, Partition
from streamjobs.errors import StreamjobsError
from streamjobs.failpoints import hit
from streamjobs.kafka.aside import Stray
from streamjobs.kafka.failures import TEXT_TOO_LONG
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.membership import CommitRefused, NotAMember
from streamjobs.kafka.standing import Ends, Stand, Stands
from streamjobs.wording import counted
from streamjobs.worker.owners import committed_of, metadata_of, owner_of
from streamjobs.worker.strays import Strays
from streamjobs.worker.telling import too_long

logger = logging.getLogger("streamjobs.worker")

# Seconds before what was refused is tried again.
RETRY = 0.1


class OffsetsMissing(StreamjobsError):
    """The log has lost its beginning, and the group has no offset in it."""

    def __init__(self, group: str, lost: Mapping[str, int], number: int) -> None:
        where = ", ".join(f"{topic}[{number}] begins at {low}" for topic, low in lost.items())
        super().__init__(
            f"group {group} has no committed offset, and {where}: its offsets have expired, or "
            "jobs were deleted by retention before any worker ran. To begin with what is left, "
            "which may run finished jobs again: worker --from earliest"
        )


class Asks(Protocol):
    """What is asked of the broker beside the loop; see ``kafka.inquiry.Inquiry``."""

    @property
    def held_up(self) -> bool: ...  # noqa: D102
    def stands(self, shards: Mapping[int, tuple[object, Sequence[Partition]]]) -> None: ...  # noqa: D102
    def ends(  # noqa: D102
        self,
        number: int,
        token: object,
        partitions: Sequence[Partition],
        ids: Sequence[str],
        *,
        gone: bool,
    ) -> None: ...
    def answers(self) -> list[Stands | Ends]: ...  # noqa: D102
    def forget(self, numbers: Collection[int]) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Topics:
    """What taking needs to know of a queue's topics.

    Attributes:
        group: the queue's group.
        tiers: its retry topics.
        ids: topic ids, where the broker tells them.
        from_earliest: whether to begin where a log begins that has lost its beginning.
        drain: whether the worker ends when all is done: then one that cannot begin has to end.
        today: asks for a topic's id as it is now; None: no answer.
    """

    group: str
    tiers: Collection[str]
    ids: Mapping[str, str]
    from_earliest: bool = False
    drain: bool = False
    today: Callable[[str], str | None] = lambda _: None


class Taking:
    """The shards that are being taken, owned by the loop thread.

    Args:
        engine: whose shards.
        consumer: in whose name offsets are committed.
        asks: asks the broker.
        topics: of the queue.

    Attributes:
        strays: partitions whose log does not have the offset to be read next.
    """

    def __init__(self, engine: Engine, consumer: GroupConsumer, asks: Asks, topics: Topics) -> None:
        self._engine, self._consumer, self._asks, self._topics = engine, consumer, asks, topics
        self.strays = Strays(
            topics.group, consumer, self._is_another, topics.from_earliest, self._deleted
        )
        self._alarms: tuple[str, ...] = ()
        self._open: dict[int, object] = {}
        self._stood: dict[int, dict[str, Committed | None]] = {}
        self._again: dict[int, float] = {}
        self._nowhere: dict[int, str] = {}
        self._known: set[int] = set()
        self._expects_suspects = False
        self._astray: list[Stray] = []

    @property
    def troubles(self) -> list[str]:
        """What keeps partitions from being taken or read, a sentence each; from any thread."""
        nowhere = [why for _, why in sorted([*self._nowhere.items()])]
        return [*self.strays.troubles, *nowhere, *self._alarms]

    @property
    def busy(self) -> bool:
        """Whether a shard is being taken."""
        return bool(self._open or self._again)

    @property
    def expects_suspects(self) -> bool:
        """Whether a shard is being taken whose last owner has vanished, or seems to have."""
        return self._expects_suspects and self.busy

    def begin(self, numbers: Sequence[int]) -> None:
        """Take these shards, from the first step."""
        shards = {}
        for number in numbers:
            mine = [pair for pair in self._engine.owned if pair[1] == number]
            if mine:
                self._open[number] = token = object()
                shards[number] = (token, mine)
        if shards:
            self._asks.stands(shards)

    def go_on(self, transactional_id: str | None, now: float) -> bool:
        """Act on what the broker has answered.

        Args:
            transactional_id: of this owner's producer.
            now: seconds of the monotonic clock.

        Returns:
            Whether a shard was taken whose last owner has vanished.

        Raises:
            OffsetsMissing: it is not known where to begin, and the worker drains.
        """
        stood: list[Stands] = []
        vanished = False
        for answer in self._asks.answers():
            if self._open.get(answer.number) is not answer.token:
                continue
            if isinstance(answer, Stands):
                if self._begins_somewhere(answer):
                    stood.append(answer)
            else:
                vanished |= self._taken(answer)
        if stood:
            self._claim(stood, transactional_id, now)
        if late := [number for number, at in self._again.items() if now >= at]:
            for number in late:
                del self._again[number]
            self.begin(late)
        self._expects_suspects = bool(self._open) and (
            self._expects_suspects
            or self._asks.held_up
            or any(_vanished(self._stood[number]) for number in self._open if number in self._stood)
        )
        return vanished

    def find(self, strayed: Iterable[Stray], now: float) -> int:
        """Find out where partitions go on whose next offset is not in their log; see ``Strays``.

        Only once it is known where their shard begins: the offset may be that of a topic that is
        no more, and then the engine has it read from its beginning.
        """
        self._astray += strayed
        ready = [each for each in self._astray if each.number in self._known]
        self._astray = [each for each in self._astray if each.number not in self._known]
        return self.strays.find(ready, now) if ready or self.strays.open else 0

    def carry_out(self, flow: Flow) -> None:
        """Have the consumer pause, resume and seek as the engine says."""
        if flow.pause:
            self._consumer.pause(flow.pause)
        if flow.resume:
            self._consumer.resume(flow.resume)
        for topic, partition, offset in flow.seek:
            self.sought([(topic, partition)])
            self._consumer.seek((topic, partition), offset)

    def sought(self, partitions: Collection[Partition]) -> None:
        """These are read from elsewhere now: what was found out of them does not count."""
        self._astray = [each for each in self._astray if each[:2] not in partitions]
        self.strays.forget(partitions)

    def forget(self, partitions: Collection[Partition]) -> None:
        """These are not ours any more: what was found out of their shards is void.

        They may come back before it is answered, and somebody else has committed more meanwhile.
        """
        self.sought(partitions)
        numbers = {number for _, number in partitions}
        self._asks.forget(numbers)
        for number in numbers:
            self._open.pop(number, None)
            self._stood.pop(number, None)
            self._again.pop(number, None)
            self._nowhere.pop(number, None)
            self._known.discard(number)

    def close(self) -> None:
        """Ask nothing more."""
        self._asks.close()

    def _claim(self, answers: Sequence[Stands], transactional_id: str | None, now: float) -> None:
        """Say that these shards are ours before anything of them starts, in one commit."""
        texts: dict[Partition, tuple[int, str]] = {}
        found: dict[int, dict[str, Committed | None]] = {}
        for answer in answers:
            known = found[answer.number] = {}
            for topic, stand in answer.of.items():
                known[topic] = committed_of(stand, transactional_id, answer.members)
                texts[topic, answer.number] = self._text(
                    topic, stand, known[topic], transactional_id
                )
        if not self._commit(texts):
            for answer in answers:
                del self._open[answer.number]
                self._again[answer.number] = now + RETRY
            return
        hit("loop.claimed")
        for answer in answers:
            # Not before it is taken: a claim may be refused ten times a second.
            self._tell_odd(answer)
            self._tell_suspicion(answer.number, found[answer.number])
            self._stood[answer.number] = found[answer.number]
            partitions = [(topic, answer.number) for topic in answer.of]
            ids = [name for stand in answer.of.values() if (name := owner_of(stand)) is not None]
            gone = _vanished(found[answer.number])
            self._asks.ends(answer.number, answer.token, partitions, ids, gone=gone)

    def _commit(self, texts: Mapping[Partition, tuple[int, str]]) -> bool:
        try:
            offsets = self._consumer.offsets(texts)
            if len(offsets) < len(texts):
                return False  # they are being taken away
            self._consumer.commit(offsets)
        except (CommitRefused, NotAMember) as error:
            logger.info("group %s: shards cannot be taken yet: %s", self._topics.group, error)
            self._sound(error)
            return False
        self._alarms = ()
        return True

    def _sound(self, error: Exception) -> None:
        """Tell once what trying again does not mend."""
        if TEXT_TOO_LONG in str(error) and not self._alarms:
            self._alarms = (too_long(error),)
            logger.error("group %s: %s", self._topics.group, *self._alarms)

    def _taken(self, answer: Ends) -> bool:
        del self._open[answer.number]
        committed = self._stood.pop(answer.number)
        if self._topics.from_earliest:
            for topic, base in committed.items():
                if base is not None and base.offset > answer.of.get(topic, base.offset):
                    committed[topic] = None  # beyond the log's end, it says nothing of this log
        hit("loop.answered")
        self._known.add(answer.number)
        self._engine.taken(answer.number, committed, answer.of, wall())
        return _vanished(committed)

    def _begins_somewhere(self, answer: Stands) -> bool:
        """Whether it is known where a shard begins; one that does not stands still, loudly.

        Nothing but a restart mends it: offsets are set, or given up, while no worker runs.
        """
        lost = {
            topic: stand.low
            for topic, stand in answer.of.items()
            if stand.offset is None and stand.low > 0 and topic not in self._topics.tiers
        }
        if not lost or self._topics.from_earliest:
            return True
        missing = OffsetsMissing(self._topics.group, lost, answer.number)
        if self._topics.drain:
            raise missing
        del self._open[answer.number]
        self._nowhere[answer.number] = f"partition {answer.number} stands still: {missing}"
        logger.error("%s", self._nowhere[answer.number])
        return False

    def _tell_odd(self, answer: Stands) -> None:
        """Say what stands beside offsets that is not to be acted on."""
        for topic, stand in answer.of.items():
            metadata = metadata_of(stand)
            if metadata is None:
                if stand.text:
                    logger.warning(
                        "group %s: beside offset %s of %s[%d] stands %.80r, which is not of this "
                        "program: finished jobs above that offset run again",
                        self._topics.group,
                        stand.offset,
                        topic,
                        answer.number,
                        stand.text,
                    )
            elif self._renewed(topic, metadata):
                logger.error(
                    "group %s: topic %s was deleted and made again since offset %s of partition %d "
                    "was committed; it is read from its beginning",
                    self._topics.group,
                    topic,
                    stand.offset,
                    answer.number,
                )

    def _is_another(self, topic: str) -> bool | None:
        """Whether the topic is another one than when this worker joined; None: not known yet."""
        then = self._topics.ids.get(topic)
        if not then:
            return False  # a broker that tells no ids
        today = self._topics.today(topic)
        return today != then if today else None

    def _deleted(self, place: Partition) -> bool:
        """Tell the engine that of a retry topic, and where all of the shard's end by now."""
        topic, number = place
        ends: dict[str, int] = {}
        tiers = self._engine.tiers  # of those that are lost nobody tells where they end
        for tier in tiers if topic in tiers else ():
            marks = self._consumer.marks((tier, number))
            if marks is None:
                return False
            ends[tier] = marks[1]
        if ends:
            self._engine.deleted(number, ends)
        return True

    def _renewed(self, topic: str, metadata: Metadata) -> bool:
        today = self._topics.ids.get(topic)
        return metadata.topic_id is not None and bool(today) and metadata.topic_id != today

    def _tell_suspicion(self, number: int, found: Mapping[str, Committed | None]) -> None:
        """Say that several owners have vanished, or where one did while it tried a job."""
        for topic, known in found.items():
            for offset, times in () if known is None else known.suspicion.crashes:
                logger.error(
                    "group %s: %s[%d] at offset %d: its worker ended while it ran this job alone, "
                    "%s; it is dead after %d",
                    *(self._topics.group, topic, number, offset),
                    *(counted(times, "time"), MAX_CRASHES),
                )
        if any(known is not None and known.alone for known in found.values()):
            logger.warning(
                "group %s: several owners of partition %d in a row have ended unexpectedly; some "
                "of what they may have been running is tried one at a time",
                self._topics.group,
                number,
            )

    def _text(
        self, topic: str, stand: Stand, known: Committed | None, transactional_id: str | None
    ) -> tuple[int, str]:
        """The same offset again, with what is known above it, and ours."""
        metadata = metadata_of(stand)
        today = self._topics.ids.get(topic) or None
        offset = stand.low if stand.offset is None else stand.offset
        if metadata is not None and self._renewed(topic, metadata):
            offset, metadata = 0, None
        if metadata is None:
            note = Note(offset, NOTHING, offset, whole=True, topic_id=today, epoch=None)
        else:
            runs, upto = pack(metadata.above.bounds, ROOM)
            note = Note(offset, runs, upto, whole=True, topic_id=today, epoch=metadata.epoch)
        if known is not None and metadata is not None:
            note = note._replace(suspicion=known.suspicion)
        return offset, note.text(transactional_id, clean=False)


def _vanished(found: Mapping[str, Committed | None]) -> bool:
    return any(each is not None and each.vanished for each in found.values())
