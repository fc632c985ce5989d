"""A model of Kafka as far as a worker can tell: logs, transactions, offsets, fencing.

What it takes is what Kafka takes: a commit is checked for member and generation and never for
ownership; the end of a transaction is decided at once and its markers reach each log, and the
group's offsets, independently later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from unit.simulator.model_log import Log, Msg, Told

# Seconds after which the broker aborts a transaction that nobody ends.
TRANSACTION_TIMEOUT = 15.0


class Refused(Exception):
    """The broker did not do it; with ``fatal`` the producer is used up."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class Members(Protocol):
    """Who may commit."""

    def knows(self, member: str | None, generation: int) -> bool: ...


class Referee(Protocol):
    """Who is told what the broker accepted."""

    def sent(self, member: str | None, offsets: dict[Log, Told]) -> None: ...

    def accepted(self, offsets: dict[Log, Told]) -> None: ...

    def written(self, records: Iterable[tuple[Msg, Msg, int]]) -> None: ...


class Txn:
    """One transaction.

    Attributes:
        parts: the records it wrote, by log.
        offsets: what it commits.
        copies: (source, copy, taking) of each record that carries another on.
        markers: how many logs its end has not reached.
    """

    __slots__ = ("begun", "copies", "markers", "offsets", "parts", "producer", "state")

    def __init__(self, producer: Producer, begun: float) -> None:
        self.producer, self.begun = producer, begun
        self.state = "open"
        self.parts: dict[Log, list[Msg]] = {}
        self.offsets: dict[Log, Told] = {}
        self.copies: list[tuple[Msg, Msg, int]] = []
        self.markers = 0


class Producer:
    """A transactional id and the transaction it is in."""

    __slots__ = ("fenced", "ready", "tid", "txn")

    def __init__(self, tid: str) -> None:
        self.tid = tid
        self.ready = self.fenced = False
        self.txn: Txn | None = None


class Broker:
    """The logs, and what is done to them.

    Args:
        later: runs something after so many seconds.
        marker_delay: the longest time that a marker takes, in seconds; often none at all.
    """

    def __init__(
        self,
        rng: Random,
        members: Members,
        referee: Referee,
        later: Callable[[float, Callable[[], None]], None],
        marker_delay: float,
    ) -> None:
        self._rng, self._members, self._referee, self._later = rng, members, referee, later
        self._marker_delay = marker_delay
        self._writes = 0
        self.fences = 0

    # -- plain commits -----------------------------------------------------------------------

    def commit(self, member: str | None, generation: int, offsets: dict[Log, Told]) -> bool:
        """Take offsets of a member of this generation, whoever owns the partitions."""
        if not self._members.knows(member, generation):
            self.fences += 1
            return False
        self._referee.sent(member, offsets)
        self._referee.accepted(offsets)
        self._writes += 1
        for log, offset in offsets.items():
            log.committed, log.written = offset, self._writes
        return True

    # -- transactions ------------------------------------------------------------------------

    def initialise(self, producer: Producer) -> None:
        """First call of a producer."""
        producer.ready = True

    def begin(self, producer: Producer, now: float) -> Txn:
        self._fence(producer)
        producer.txn = Txn(producer, now)
        return producer.txn

    def produce(self, txn: Txn, log: Log, msg: Msg) -> None:
        self._fence(txn.producer, txn)
        msg.offset_ = len(log.entries)
        log.entries.append(msg)
        part = txn.parts.get(log)
        if part is None:
            txn.parts[log] = part = []
            log.open[txn] = msg.offset_
        part.append(msg)

    def send_offsets(
        self, txn: Txn, member: str | None, generation: int, offsets: dict[Log, Told]
    ) -> None:
        """Add offsets; they are unstable from now on until the end has reached them."""
        self._fence(txn.producer, txn)
        if not self._members.knows(member, generation):
            self.fences += 1
            raise Refused("unknown member or generation")
        self._referee.sent(member, offsets)
        self._writes += 1
        for log, offset in offsets.items():
            txn.offsets[log] = offset
            log.pending[txn] = (self._writes, offset)

    def end(self, txn: Txn, *, commit: bool) -> None:
        """Decide; the markers follow, each in its own time."""
        self._fence(txn.producer, txn)
        self._end(txn, commit=commit)

    def fence(self, producer: Producer) -> None:
        """What ``init_transactions`` of somebody else with the same id does."""
        if not producer.fenced:
            producer.fenced = True
            self.fences += 1
            if producer.txn is not None and producer.txn.state == "open":
                self._end(producer.txn, commit=False)

    def expire(self, txn: Txn) -> None:
        """Time is up for a transaction that is still open."""
        if txn.state == "open":
            self.fence(txn.producer)

    def _fence(self, producer: Producer, txn: Txn | None = None) -> None:
        if producer.fenced or (txn is not None and txn.state != "open"):
            raise Refused("fenced", fatal=True)

    def _end(self, txn: Txn, *, commit: bool) -> None:
        txn.state = "committed" if commit else "aborted"
        if commit:
            self._referee.written(txn.copies)
            if txn.offsets:
                self._referee.accepted(txn.offsets)
        txn.markers = len(txn.parts) + 1
        for log in txn.parts:
            self._mark(lambda log=log: self._mark_log(txn, log))  # type: ignore[misc]
        self._mark(lambda: self._mark_offsets(txn))

    def _mark(self, act: Callable[[], None]) -> None:
        if self._marker_delay and self._rng.random() < 0.3:
            self._later(self._rng.random() * self._marker_delay, act)
        else:
            act()

    def _mark_log(self, txn: Txn, log: Log) -> None:
        if txn.state == "aborted":
            for msg in txn.parts[log]:
                log.entries[msg.offset_] = None
        log.entries.append(None)
        del log.open[txn]
        txn.markers -= 1

    def _mark_offsets(self, txn: Txn) -> None:
        for log, offset in txn.offsets.items():
            written, _ = log.pending.pop(txn)
            if txn.state == "committed" and written > log.written:
                log.committed, log.written = offset, written
        txn.markers -= 1
