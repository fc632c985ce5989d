"""What the engine holds in hand: partitions, and the records received from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamjobs.engine.metadata import Note
from streamjobs.engine.results import Result
from streamjobs.engine.suspicion import Suspicion
from streamjobs.engine.watermark import Watermark
from streamjobs.headers import Delivery, Failure, Headers, Reason


class Message(Protocol):
    """A received record, as the client hands it over."""

    def topic(self) -> str | None: ...  # noqa: D102
    def partition(self) -> int | None: ...  # noqa: D102
    def offset(self) -> int | None: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102
    def headers(self) -> Headers | None: ...  # noqa: D102
    def leader_epoch(self) -> int | None: ...  # noqa: D102


class Log:
    """One owned partition of the queue: a main topic's, or a retry tier's.

    Attributes:
        topic, partition: which.
        delay: seconds a record waits here; None for main.
        rung: what a record's place here implies, when it does not say itself.
        load: its records that run, are ready, or wait behind one that runs; those held, or behind
            a parked one, apart.
        live: whether this assignment still holds; what belongs to a dead log is dropped.
        begins: whether its jobs may begin: not while it is being given back, nor when it is dead.
        stale: whether what arrives has to be dropped until the consumer was told to seek.
        committed: what was committed last.
        note: what there was to commit when that was last asked; it holds until there is news.
        suspect_upto: below it records may have been running when their last owner vanished.
        suspicion: what is told of that beside a commit.
        alone: whether its suspects are tried one at a time.
        ran: how many have run while there were suspects.
        last_epoch: the leader epoch of the last record that the last owner received.
        told: up to where complete offsets were told beside a commit.
        mute: whether no more can be told until what was told can be told again.
        epoch: the leader epoch of the last record received, by the last owner at first.
        crowded: whether what is told there is near its limit.
        held: of a tier, records that are not due, as (due, record), in log order.
        holding: how many of those have not been taken out of turn.
        target: while the shard is rebuilt: the end up to which a tier has to be read, else None.
        scanned: while the shard is rebuilt: up to where it was read.
        at_end: whether an end-of-partition event came after the last record.
        least_end: of main, where its leader said that it ended when the shard was taken: the event
            may come from a broker that is not as far.
        refetch: the first offset that was scanned and not held, or None.
        paused: whether the consumer was told to fetch no more of it.
    """

    __slots__ = (
        "alone",
        "at_end",
        "begins",
        "committed",
        "crowded",
        "delay",
        "epoch",
        "held",
        "holding",
        "last_epoch",
        "least_end",
        "live",
        "load",
        "mute",
        "note",
        "partition",
        "paused",
        "ran",
        "refetch",
        "rung",
        "scanned",
        "stale",
        "suspect_upto",
        "suspicion",
        "target",
        "told",
        "topic",
        "watermark",
    )  # fmt: skip

    def __init__(self, topic: str, partition: int, delay: float | None, rung: int) -> None:
        self.topic, self.partition = topic, partition
        self.delay, self.rung = delay, rung
        self.live, self.stale, self.paused, self.at_end = True, False, False, False
        self.least_end = 0
        self.begins = True
        self.load = self.holding = 0
        self.watermark = Watermark()
        self.committed: Note | None = None
        self.note: Note | None = None
        self.epoch: int | None = None
        self.told = self.suspect_upto = 0
        self.suspicion, self.alone = Suspicion(), False
        self.ran = 0
        self.last_epoch: int | None = None
        self.crowded = self.mute = False
        self.held: deque[tuple[float, Record]] = deque()
        self.target: int | None = None
        self.scanned: int | None = None
        self.refetch: int | None = None


class Record:
    """One received record, and what its present attempt came to.

    Attributes:
        log: where it came from.
        offset: its offset there.
        key: the key of its lane, or None when it has no order.
        message: the client's record; bytes are taken from it where the job runs.
        delivery: its state when it came from a tier or was tried here; None for a fresh one from
            main, whose headers do not count.
        place: its place in its lane's order: its offset in the main topic.
        held: whether it is in its tier's buffer.
        last: whether it is the last of its run, so that its end frees the lane.
        suspect: whether it may have ended the process in which it ran, so that the next attempt is
            made in a child process.
        result: set by the executor; None is success.
        job: the job's name once it was decoded.
    """

    __slots__ = (
        "delivery", "held", "job", "key", "last", "log", "message", "offset", "place", "result",
        "suspect",
    )  # fmt: skip

    def __init__(
        self,
        log: Log,
        offset: int,
        key: bytes | None,
        message: Message,
        delivery: Delivery | None = None,
    ) -> None:
        self.log, self.offset, self.key, self.message = log, offset, key, message
        self.delivery = delivery
        self.place = offset
        self.held = False
        self.last = True
        self.suspect = delivery is not None and delivery.crashes > 0
        self.result: Result | None = None
        self.job: str | None = None

    @property
    def attempts(self) -> int:
        """How many attempts were made before the present one."""
        return 0 if self.delivery is None else self.delivery.attempts


# The jobs of one lane that are handed over together: run one after the other, until one of them
# does not succeed.
Run = list[Record]


@dataclass(frozen=True, slots=True)
class Move:
    """A record to be written onward in the same transaction that completes it.

    Attributes:
        record: what moves; its bytes stay as they are.
        topic: a retry tier, or the DLQ; the partition stays the same.
        delivery: the state it arrives with.
        reason: why it is there.
        failure: what went wrong, if anything did.
    """

    record: Record
    topic: str
    delivery: Delivery
    reason: Reason
    failure: Failure | None


def by_partition(
    messages: Sequence[Message],
) -> Iterator[tuple[tuple[str, int], Sequence[Message]]]:
    """Cut a poll into its stretches of one partition: the client hands them over in such."""
    begin = 0
    topic, partition = "", -1
    for index, message in enumerate(messages):
        if message.partition() != partition or message.topic() != topic:
            if index > begin:
                yield (topic, partition), messages[begin:index]
            begin = index
            topic, partition = message.topic(), message.partition()  # type: ignore[assignment]
    if messages:
        yield (topic, partition), messages[begin:]
