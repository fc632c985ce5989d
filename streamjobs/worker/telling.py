"""What a loop tells in the log of outcomes: a line a second at most, not a line a job."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from streamjobs.clock import monotonic
from streamjobs.engine.breaker import BreakerState
from streamjobs.engine.metadata import TEXT_MAX
from streamjobs.engine.outbox import Partition
from streamjobs.engine.records import Message, Move, Record
from streamjobs.engine.results import Condemned, Crashed, Failed
from streamjobs.headers import Failure
from streamjobs.kafka.rights import COMMAND
from streamjobs.wording import counted
from streamjobs.worker.tally import Tally

logger = logging.getLogger("streamjobs.worker")

# Seconds between lines about failed jobs.
LOG_INTERVAL = 1.0
# Seconds that the brokers' clock may be ahead of ours before it is said: clocks that are kept in
# step are never so far apart, and what waits in a tier waits for so much longer.
CLOCK_BEHIND = 60.0
# What a broker stamps itself, as against a producer (confluent_kafka.TIMESTAMP_LOG_APPEND_TIME).
BY_BROKER = 2


class Standing(Protocol):
    """How a member stands with its group; see ``CommitCycle``."""

    @property
    def member(self) -> bool: ...  # noqa: D102
    @property
    def outcast(self) -> bool: ...  # noqa: D102


class Telling:
    """The lines of one queue about what its jobs came to.

    Args:
        queue: its name.
        tally: what was done so far.
    """

    def __init__(self, queue: str, tally: Tally) -> None:
        self._queue, self._tally = queue, tally
        self._before: Counter[str] = Counter()
        self._next = self._opened_at = 0.0
        self._clock_told = self._tripped = False

    def clock(self, message: Message, now: float) -> None:
        """Tell, once, that our clock is far behind the brokers': retries would seem to stand still.

        Args:
            message: the record received last.
            now: seconds since the epoch, by our clock.
        """
        kind, stamp = message.timestamp()
        if self._clock_told or kind != BY_BROKER or stamp / 1000 - now <= CLOCK_BEHIND:
            return
        self._clock_told = True
        logger.warning(
            "queue %s: the clock here is %.0f s behind the broker's: set it; until then retries "
            "begin that much later, since they are due by the broker's stamps",
            self._queue,
            stamp / 1000 - now,
        )

    def is_due(self, now: float) -> bool:
        """Whether a line about failed jobs may be written, at ``now`` of the monotonic clock."""
        return now >= self._next

    def failures(self, sample: Move | None) -> None:
        """Tell how many jobs failed since the last line, and show one of them, if any has."""
        if sample is None:
            return
        self._next = monotonic() + LOG_INTERVAL
        outcomes, before = self._tally.outcomes, self._before
        self._before = outcomes.copy()
        logger.warning(
            "queue %s: %s failed, %s dead; one of them: %s, attempt %d, %s",
            self._queue,
            counted(outcomes["retried"] - before["retried"], "attempt"),
            counted(outcomes["dead"] - before["dead"], "job"),
            _name(sample.record),
            sample.delivery.attempts,
            "no failure" if sample.failure is None else _error(sample.failure),
        )

    def partitions(self, level: int, what: str, partitions: list[Partition]) -> None:
        """Tell that partitions are assigned, revoked or lost."""
        logger.log(level, "queue %s: %s %s", self._queue, what, _short(partitions))

    def gives_back(self, why: str, jobs: int) -> None:
        """Tell that partitions are given back, with so many jobs in hand."""
        logger.info("queue %s: %s; %s in hand", self._queue, why, counted(jobs, "job"))

    def not_done(self, why: str, budget: float, jobs: int) -> None:
        """Tell that jobs have not ended within the seconds that they had."""
        logger.warning(
            "queue %s: %s, and after %g s %s not done; what is not done runs again elsewhere",
            self._queue,
            why,
            budget,
            counted(jobs, "job is", "jobs are"),
        )

    def not_joined(self, why: str, *, denied: bool) -> None:
        """Tell that the group cannot be joined yet, as an error where we are denied it."""
        level = logging.ERROR if denied else logging.WARNING
        logger.log(level, "queue %s: %s; trying on", self._queue, why)

    def joins_again(self, new: Collection[str]) -> None:
        """Tell that the group is joined again, to read these retry topics too."""
        what = ", ".join(sorted(new)) or "what is there by now"
        logger.info("queue %s: joins again, to read %s", self._queue, what)

    def not_committed(self, why: str, budget: float, standing: Standing) -> None:
        """Tell that the last commit was not taken: in the seconds that it had, or for a reason."""
        if standing.outcast:
            told = "its group's rights, which the last commit needs, are denied"
        elif standing.member:
            told = f"the group's coordinator has not taken the last commit within {budget:g} s"
        else:
            told = "its group, which has gone on without it, takes no last commit"
        logger.error(
            "queue %s: %s, and %s; nothing is lost, but what ended since the commit before runs "
            "again elsewhere: was a broker down, or this worker cut off from its group?",
            self._queue,
            why,
            told,
        )

    def stood_still(self, seconds: float, *, member: bool) -> None:
        """Tell that the process slept, and whether the group has it still."""
        logger.warning(
            "queue %s: stood still for over %g s; %s",
            self._queue,
            seconds,
            "it is still a member" if member else "nothing begins until it has rejoined",
        )

    def has_tripped(self, breaker: BreakerState | None, records: Sequence[Record]) -> bool:
        """Tell that the queue pauses, or that it goes on; return whether it has just paused.

        Args:
            breaker: as it is now; None: there is none.
            records: those that came back last.
        """
        before, self._tripped = self._tripped, breaker is not None and breaker.open
        if breaker is None or self._tripped == before:
            return False
        if self._tripped:
            self.breaker_opened(breaker, records)
        else:
            self.breaker_closed()
        return self._tripped

    def breaker_opened(self, breaker: BreakerState, records: Sequence[Record]) -> None:
        """Tell that the queue pauses itself; ``records`` are those that came back last."""
        self._opened_at = monotonic()
        last = ""
        for record in reversed(records):
            if isinstance(record.result, Failed | Crashed):
                last = f", the last: {_name(record)}, {_error(record.result.failure)}"
                break
        logger.error(
            "queue %s: breaker open: %d of the last %d attempts failed%s; the queue is paused and "
            "one job is tried every %g s; when one succeeds, all run again",
            self._queue,
            breaker.failures,
            breaker.total,
            last,
            breaker.policy.probe_every,
        )

    def breaker_closed(self) -> None:
        """Tell that the queue goes on."""
        logger.warning(
            "queue %s: breaker closed after %.0f s: a job succeeded, and all run again",
            self._queue,
            monotonic() - self._opened_at,
        )


def troubles(missing: Mapping[str, str], refused: Mapping[int, str]) -> list[str]:
    """Say what keeps some partitions from going on, a sentence each; called by any thread.

    Args:
        missing: topics that are not there.
        refused: partitions of which a record cannot be written, and why.
    """
    told = [absent(topic) for topic in sorted([*missing])]
    told += [
        f"partition {number} stands still: {why}{mended_by(why)}"
        for number, why in sorted([*refused.items()])
    ]
    return told


def mended_by(why: str) -> str:
    """Say what mends that a record is refused, where that is not said with the reason."""
    if COMMAND in why:
        return ""
    return (
        "; 'streamjobs -A module:app topics plan' says what is wrong with topics, and "
        "'topics apply' mends it"
    )


def too_long(error: Exception) -> str:
    """Say what mends that brokers refuse what stands beside an offset."""
    return (
        f"nothing is committed: {error}; set offset.metadata.max.bytes={TEXT_MAX}, Kafka's "
        "default, or more, on every broker"
    )


def absent(topic: str) -> str:
    """Say that a topic is not there."""
    return f"topic {topic} is not there: streamjobs -A module:app topics apply"


def _name(record: Record) -> str:
    unknown = "was not run" if isinstance(record.result, Condemned) else "does not decode"
    return record.job or f"a record that {unknown}"


def _error(failure: Failure) -> str:
    return f"{failure.type}: {failure.message[:200]!r}"


def _short(partitions: list[Partition]) -> str:
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        topics.setdefault(topic, []).append(number)
    return ", ".join(f"{topic}{numbers}" for topic, numbers in topics.items()) or "nothing"
