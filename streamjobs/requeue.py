"""Putting dead letters back into their main topics, each exactly once.

A dead letter is put back by one transaction that writes its record to main and its mark to the
queue's marks. Who puts back holds the queue's one transactional id for it, and reads the marks only
then: nobody else can add one from there on. So neither two commands at a time nor one that is
killed and repeated puts a dead letter back twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamjobs.deadletters import DeadLetter, Describer, dead_letter
from streamjobs.errors import EnqueueError, SettingsError, TopicsError
from streamjobs.headers import Origin, read_origin, write_requeue
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.kafka.reader import Record, read
from streamjobs.kafka.sole import SoleProducer
from streamjobs.marks import DeadLog, mark_key, mark_value, survey
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

_PLACE = re.compile(r"(\d{1,10}):(\d{1,19})", re.ASCII)


class Fate(StrEnum):
    """What came of a dead letter that was named."""

    REQUEUED = "requeued"
    ALREADY = "already-requeued"
    REFUSED = "refused"
    TRIMMED = "trimmed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Result:
    """What came of one name, or of one dead letter of it.

    Attributes:
        fate: what.
        name: as it was given: an id, or ``PARTITION:OFFSET``.
        letter: the dead letter; None where none was found to put back.
        topic: the main topic it was put into, or was to be.
        problem: why it was not put back, as a sentence.
    """

    fate: Fate
    name: str
    letter: DeadLetter | None = None
    topic: str | None = None
    problem: str | None = None


class Selection:
    """Which dead letters are meant, and which names have led to nothing.

    A job that was put back and died again is there twice, under one id: of those the ones that were
    not taken are chosen.

    Args:
        names: ids, or ``PARTITION:OFFSET`` for dead letters without one.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self._wanted = frozenset(self._names)
        self._chosen: set[str] = set()
        self._taken: set[str] = set()

    def choose(self, letter: DeadLetter, *, taken: bool) -> str | None:
        """Return the name under which a dead letter is to be put back; None: it is not."""
        named = [name for name in (letter.id, letter.place) if name in self._wanted]
        (self._taken if taken else self._chosen).update(name for name in named if name)
        return None if taken or not named else named[0]

    def rest(self, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Result]:
        """Yield a result for each name that nothing was chosen for, once all were looked at.

        Args:
            ranges: each partition of the DLQ to its first offset and its end.
        """
        for name in self._names:
            if name in self._taken and name not in self._chosen:
                yield Result(Fate.ALREADY, name)
            elif name not in self._chosen:
                yield _not_there(name, ranges)


def _not_there(name: str, ranges: Mapping[int, tuple[int, int]]) -> Result:
    place = _PLACE.fullmatch(name)
    start = ranges.get(int(place[1]), (0, 0))[0] if place else 0
    if place and int(place[2]) < start:
        problem = (
            f"dead letter {name} was deleted by the retention of the DLQ, whose partition "
            f"{int(place[1])} begins at offset {start} now"
        )
        return Result(Fate.TRIMMED, name, problem=problem)
    problem = (
        f"there is no dead letter {name}: 'streamjobs dlq list' has those there are; the retention "
        "of the DLQ deletes old ones"
    )
    return Result(Fate.UNKNOWN, name, problem=problem)


@dataclass(frozen=True, slots=True)
class _Onward:
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


class Requeue:
    """Puts dead letters of one queue back; made for one run.

    Args:
        settings: of the process.
        topics: of the queue.
        describer: decodes values, for the ids.
    """

    def __init__(self, settings: Settings, topics: QueueTopics, describer: Describer) -> None:
        self._settings, self._topics, self._describer = settings, topics, describer

    def run(self, names: Collection[str]) -> Iterator[Result]:
        """Put back the dead letters of ``names``, yielding each as soon as it is done.

        What was yielded as put back stays so, whatever comes after. Memory is bounded: one dead
        letter at a time, and a bit for each offset of the DLQ.

        Args:
            names: ids, or ``PARTITION:OFFSET`` for dead letters without one.

        Raises:
            SettingsError: there are no transactions, as settings or broker have it.
            TopicsError: a topic is missing or has another number of partitions.
            EnqueueError: another requeue of this queue has begun; run it again.
            BrokerUnavailable: no answer; the last one may be put back, running it again finds out.
        """
        mains = self._mains()
        producer = SoleProducer(self._settings, self._topics.requeue_id)
        producer.take_over()
        # From here on nobody else adds marks: what they say now holds until we are done or fenced.
        log = survey(self._settings, self._topics)
        selection = Selection(names)
        for record in read(self._settings, log.ranges, whole=True):
            letter = dead_letter(record, self._describer)
            taken = (record.partition, record.offset) in log.taken
            name = selection.choose(letter, taken=taken)
            if name is not None:
                topic = self._main_of(letter, mains)
                problem = self._put_back(producer, log, record, topic)
                fate = Fate.REFUSED if problem else Fate.REQUEUED
                yield Result(fate, name, letter, topic, problem)
        yield from selection.rest({p: ends for (_, p), ends in log.ranges.items()})

    def _mains(self) -> dict[str, str]:
        """Return the main topics by their topic ids; refuse what cannot be done exactly once."""
        if self._settings.delivery != "transactional":
            raise SettingsError(
                f"delivery={self._settings.delivery!r}: a dead letter is put back by a transaction "
                "or it may come twice: use a broker that has them, and "
                "STREAMJOBS_DELIVERY=transactional"
            )
        topics = self._topics
        wanted = [*topics.mains, topics.dlq, topics.marks]
        with Admin(self._settings) as admin:
            if admin.embedded:
                raise SettingsError(
                    "the embedded broker has no transactions, so a dead letter could come back "
                    "twice: use an Apache Kafka"
                )
            infos = admin.topics(wanted)
        problems = [
            f"topic {name} does not exist: 'streamjobs -A module:app topics apply' creates it"
            for name in wanted
            if name not in infos
        ]
        counts = {name: info.partitions for name, info in infos.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            problems.append(
                f"queue {topics.queue!r} has topics of different partition counts ({told}): "
                "'streamjobs topics plan' tells what mends it"
            )
        if problems:
            raise TopicsError(*problems)
        return {infos[main].topic_id: main for main in topics.mains}

    def _main_of(self, letter: DeadLetter, mains: Mapping[str, str]) -> str:
        """The topic a dead letter came from; where that is gone or not told, the default one."""
        origin = read_origin(letter.origin.encode()) if letter.origin else None
        return mains.get(origin.topic_id if origin else "", self._topics.main)

    def _put_back(
        self, producer: SoleProducer, log: DeadLog, record: Record, topic: str
    ) -> str | None:
        """Put one back; return why the broker does not take it, if so."""
        where, offset = record.partition, record.offset
        dead = Origin(log.topic_id, where, offset)
        headers = [*write_requeue(record.headers, dead)]
        key, value = mark_key(where, offset), mark_value(log.topic_id)
        try:
            producer.write(
                [
                    _Onward(topic, where, record.key, record.value, [*headers]),
                    _Onward(self._topics.marks, where, key, value),
                ]
            )
        except CycleFailed as error:
            if not error.fatal:
                return f"dead letter {where}:{offset} stays in the DLQ: {error}"
            raise EnqueueError(
                f"dead letter {where}:{offset} may not be back: another requeue of queue "
                f"{self._topics.queue!r} has begun, or a transaction took too long ({error}); run "
                "this again: what is back already is left alone",
                retriable=True,
            ) from error
        return None
