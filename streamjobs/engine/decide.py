"""From a result to an outcome: the one place where it is decided what becomes of a job."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.outbox import Outbox
from streamjobs.engine.records import Move, Record
from streamjobs.engine.results import (
    Condemned,
    Crashed,
    Discarded,
    Failed,
    Outcome,
    Rejected,
    Released,
    Result,
    Succeeded,
)
from streamjobs.engine.shard import Shard
from streamjobs.engine.turns import Turns
from streamjobs.headers import MAX_COUNT, Delivery, Failure, Reason

# Crashes of its process after which a job gets no further attempt.
MAX_CRASHES = 3


class Decider:
    """Turns results into outcomes for one queue.

    Args:
        ladder: the queue's topics and policy.
        out: where decisions go.
        turns: whose lanes.
    """

    def __init__(self, ladder: Ladder, out: Outbox, turns: Turns) -> None:
        self._ladder, self._out, self._turns = ladder, out, turns

    def decide(self, record: Record, result: Result, shard: Shard, now: float) -> Outcome:
        """Act on what an attempt came to: complete, move or put back its record."""
        match result:
            case Succeeded(children):
                self._out.children += [(record, child) for child in children]
                record.log.watermark.complete(record.offset)
                return Outcome.SUCCEEDED
            case Discarded():
                record.log.watermark.complete(record.offset)
                return Outcome.DISCARDED
            case Released():
                self._turns.put_back(shard, record)
                return Outcome.RELEASED
            case Rejected(failure, reason):
                return self._bury(record, shard.delivery(record), failure, reason)
            case Crashed() | Condemned():
                return self._crashed(record, result, shard, now)
            case Failed():
                return self._retry(record, result, shard, now)
            case _:
                assert_never(result)

    def _retry(self, record: Record, failed: Failed, shard: Shard, now: float) -> Outcome:
        before = shard.delivery(record)
        tried = replace(before, attempts=before.attempts + 1, waiting=False)
        if tried.attempts <= self._ladder.immediate and failed.retry_after is None:
            record.delivery = tried
            self._turns.again(shard, record, 0.0, now)
            return Outcome.RETRIED
        delay = self._ladder.retry(before.rung, failed.retry_after)
        if delay is None:
            return self._bury(record, before, failed.failure, failed.final)
        return self._climb(record, tried, failed, shard, delay=delay, now=now)

    def _climb(
        self,
        record: Record,
        tried: Delivery,
        failed: Failed | Crashed,
        shard: Shard,
        *,
        delay: float,
        now: float,
    ) -> Outcome:
        """Have the job wait for its next attempt, one rung further up."""
        after = replace(tried, rung=tried.rung + 1)
        if self._ladder.ordering is Ordering.PARTITION:
            # The whole line waits where it stands; its state is in memory only.
            record.delivery = after
            self._turns.again(shard, record, delay, now)
            return Outcome.RETRIED
        self._turns.failed(shard, record, delay, now)
        topic = self._ladder.topics.tier(delay)
        reason = Reason.CRASHED if isinstance(failed, Crashed) else failed.reason
        self._move(Move(record, topic, after, reason, failed.failure))
        return Outcome.RETRIED

    def _crashed(
        self, record: Record, crashed: Crashed | Condemned, shard: Shard, now: float
    ) -> Outcome:
        """One more crash: to the next tier, where its count is kept, or dead at the third.

        No try at once, whatever the policy says: the count would be in memory only.
        """
        before = shard.delivery(record)
        if isinstance(crashed, Condemned):
            return self._bury(record, before, crashed.failure, Reason.CRASHED)
        before = replace(before, crashes=min(before.crashes + 1, MAX_COUNT))
        record.suspect = True
        delay = self._ladder.retry(before.rung, None)
        if delay is None or before.crashes >= MAX_CRASHES:
            return self._bury(record, before, crashed.failure, Reason.CRASHED)
        tried = replace(before, attempts=before.attempts + 1, waiting=False)
        return self._climb(record, tried, crashed, shard, delay=delay, now=now)

    def _bury(self, record: Record, before: Delivery, failure: Failure, reason: Reason) -> Outcome:
        after = replace(before, attempts=before.attempts + 1, waiting=False)
        self._move(Move(record, self._ladder.topics.dlq, after, reason, failure))
        return Outcome.DEAD

    def _move(self, move: Move) -> None:
        self._out.last_move = move
        self._out.move(move)
