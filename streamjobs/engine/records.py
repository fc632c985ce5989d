"""What the engine holds in hand: partitions, and the records received from them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from streamjobs.engine.results import Result
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


class Log:
    """One owned partition of the queue: main, or a retry tier.

    Attributes:
        topic, partition: which.
        delay: seconds a record waits here; None for main.
        rung: what a record's place here implies, when it does not say itself.
        load: its records that are running, ready or waiting in a lane; held ones apart.
        live: whether this assignment still holds; what belongs to a dead log is dropped.
        seek: the offset to read again from, when records in hand had to be given up; until the
            consumer was told, whatever still arrives is dropped.
        held: of a tier, records that are not due, as (due, record), earliest first.
        paused: whether the consumer was told to fetch no more of it.
    """

    __slots__ = (
        "committed", "delay", "held", "live", "load", "partition", "paused", "rung", "seek",
        "topic", "watermark",
    )  # fmt: skip

    def __init__(self, topic: str, partition: int, delay: float | None, rung: int) -> None:
        self.topic, self.partition = topic, partition
        self.delay, self.rung = delay, rung
        self.live = True
        self.load = 0
        self.seek: int | None = None
        self.watermark = Watermark()
        self.committed: int | None = None
        self.held: deque[tuple[float, Record]] = deque()
        self.paused = False


class Record:
    """One received record, and what its present attempt came to.

    Attributes:
        log: where it came from.
        offset: its offset there.
        key: its ordering key, or None.
        message: the client's record; bytes are taken from it where the job runs.
        delivery: its state when it came from a tier; None from main, whose headers do not count.
        last: whether it is the last of its run, so that its end frees the lane.
        result: set by the executor; None is success.
        job: the job's name once it was decoded.
    """

    __slots__ = ("delivery", "job", "key", "last", "log", "message", "offset", "result")

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
        self.last = True
        self.result: Result | None = None
        self.job: str | None = None

    @property
    def origin(self) -> int:
        """Its place in its key's order: its offset in the main topic."""
        if self.delivery is None:
            return self.offset
        return self.delivery.origin.offset if self.delivery.origin else 0

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
        failure: what went wrong.
    """

    record: Record
    topic: str
    delivery: Delivery
    reason: Reason
    failure: Failure | None
