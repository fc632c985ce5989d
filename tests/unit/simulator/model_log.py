"""Jobs, records and partitions of the model broker: light objects, since there are many.

A ``Msg`` is one record of one log and what the judge knows of it; engines read it through the same
methods as the client's records. A ``Log`` is one partition with its group's committed offset.
"""

from __future__ import annotations

from typing import Any, Self


class Told(int):
    """A committed offset with the text that stands beside it."""

    text: str

    def __new__(cls, offset: int, text: str) -> Self:
        told = super().__new__(cls, offset)
        told.text = text
        return told


class Lane:
    """The jobs of one (main topic, key), in the order of their offsets."""

    __slots__ = ("head", "jobs", "key", "parked")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.jobs: list[Job] = []
        self.head = 0
        self.parked = False


class Job:
    """One call that was enqueued.

    Attributes:
        place: its offset in its main topic.
        ended: whether an attempt of a rightful owner ended it.
        copies: its records: in its main topic, then in tiers.
        ends: how often a committed transaction ended it for good (success, discard or DLQ).
        killer: whether it ends its worker each time; ``kills``: how often it has.
        losses: how often a worker was killed, or expelled, that had begun it and committed nothing.
    """

    __slots__ = (
        "copies", "ended", "ends", "killer", "kills", "lane", "losses", "main", "place", "rank",
        "reruns", "started",
    )  # fmt: skip

    def __init__(self, lane: Lane | None, main: Log, place: int) -> None:
        self.lane, self.main, self.place = lane, main, place
        self.rank = 0
        self.started = self.ended = False
        self.reruns = self.ends = self.kills = self.losses = 0
        self.killer = False
        self.copies: list[Msg] = []

    def __str__(self) -> str:
        key = self.lane.key.decode() if self.lane else "-"
        return f"{self.main.name}@{self.place}({key})"


class Msg:
    """One record of one log.

    Attributes:
        at_ms: the broker's timestamp.
        due: when it may start, in seconds; 0 in a main topic.
        take: the taking of its shard in which it was started last; 0 before.
        done: whether a rightful attempt ended its job with success or a discard.
        moved: the taking in which a committed transaction carried it on; 0 before.
        source, next: the record it was carried on from, and the last one it was carried on to.
        result: what its last attempt came to: S, D, F, R, or nothing.
        tries, climbed: attempts made, and rungs climbed in place, in that taking.
        again: whether its last attempt failed in such a way that it is tried again in place.
        asked: seconds that its last attempt asked for.
        not_before: when it may be tried again in its place, by the clock of its owner, which was
            ``set_back`` so often until then.
        children: how many child jobs its success brings about and are not yet in the log.
        behind: whether it was received while an earlier job of its lane had not ended.
        told: whether a commit told it to be complete, by its offset or in the text beside it.
        crashes: how many its headers tell.
    """

    __slots__ = (
        "again", "asked", "at_ms", "attempts", "behind", "children", "climbed", "crashes", "done",
        "due",
        "headers_", "job", "key_", "log", "moved", "next", "not_before", "offset_", "reason",
        "result", "rung", "set_back", "source", "take", "told", "tries",
    )  # fmt: skip

    def __init__(self, log: Log, key: bytes | None, at_ms: int) -> None:
        self.log, self.key_, self.at_ms = log, key, at_ms
        self.offset_ = -1
        self.headers_: Any = None
        self.job: Job = None  # type: ignore[assignment] # set by whoever makes it
        self.due = 0.0
        self.attempts = self.rung = self.take = self.moved = self.children = 0
        self.tries = self.climbed = self.set_back = self.crashes = 0
        self.asked = self.not_before = 0.0
        self.source: Msg | None = None
        self.next: Msg | None = None
        self.reason = self.result = ""
        self.done = self.behind = self.again = self.told = False

    def topic(self) -> str:
        return self.log.topic

    def partition(self) -> int:
        return self.log.number

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes:
        return b"v"

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at_ms

    def headers(self) -> Any:
        return self.headers_

    def leader_epoch(self) -> int:
        return 0

    def __str__(self) -> str:
        return f"{self.log.name}@{self.offset_} of {self.job}"


class Log:
    """One partition.

    Attributes:
        entries: by offset; None where a transaction marker or an aborted record stands.
        open: transactions that have records here and no marker yet, with their first offset.
        committed: the group's offset; None before the first commit.
        pending: offsets of transactions whose marker has not reached the group's coordinator,
            with the position at which each was written: a later write wins.
        owner: the member that the group gave it to.
        judged: the highest offset that was accepted, whether it is visible yet or not.
    """

    __slots__ = (
        "committed", "delay", "entries", "judged", "kind", "name", "number", "open", "owner",
        "pending", "topic", "written",
    )  # fmt: skip

    def __init__(self, topic: str, number: int, kind: str, delay: float) -> None:
        self.topic, self.number, self.kind, self.delay = topic, number, kind, delay
        self.name = f"{topic.removeprefix('shop.mail')}[{number}]"
        self.entries: list[Msg | None] = []
        self.open: dict[Any, int] = {}
        self.committed: Told | None = None
        self.written = 0
        self.pending: dict[Any, tuple[int, Told]] = {}
        self.owner: str | None = None
        self.judged = 0

    @property
    def stable(self) -> int:
        """The last stable offset; transactions stand in the order of their first offsets."""
        for offset in self.open.values():
            return offset
        return len(self.entries)
