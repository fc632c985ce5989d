"""The commit cycle: what the engine decided becomes durable, all or nothing.

Like a database's group commit: whatever is decided while one cycle is under way goes with the next.
A cycle that writes records is one transaction with the offsets they complete; one that only
completes is a plain commit, which is not waited for.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from streamjobs.clock import monotonic, wall
from streamjobs.engine.cycles import Cycle
from streamjobs.engine.engine import Engine
from streamjobs.engine.outbox import Partition
from streamjobs.engine.records import Move
from streamjobs.failpoints import ACTIVE, hit
from streamjobs.headers import Reason, foreign, headers_of, write_move
from streamjobs.kafka.cycle import IdempotentProducer, TransactionalProducer
from streamjobs.kafka.failures import TEXT_TOO_LONG
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.membership import CommitRefused, NotAMember
from streamjobs.kafka.outcome import CycleFailed, LeftOpen, does_not_exist
from streamjobs.kafka.rights import DENIED, GROUP_DENIED
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.wording import counted
from streamjobs.worker.telling import mended_by, too_long

logger = logging.getLogger("streamjobs.worker")

# Seconds for an answer of the group's coordinator, before a commit that would wait for it for long.
COORDINATOR_PATIENCE = 1.0
# Seconds for one question for stable offsets by a new client, which has to connect first.
STABLE_PATIENCE = 5.0
# Seconds before a record that the broker refused for good is tried again, and between its alarms.
REFUSED_RETRY, REFUSED_TOLD = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Onward:
    """A record that a cycle writes; with ``partition`` -1 its key decides."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


class CommitCycle:
    """Makes one queue's cycles; owned by its loop thread.

    Args:
        engine: whose decisions.
        consumer: in whose name offsets are committed.
        make_producer: called with a transactional id for the first cycle that writes, and again
            when a producer is used up.
        transactional: whether its producers make transactions.
        queue, worker: names, for metrics and for the headers of moves.
        process: what all ids of this process have in common, and no other's.
        on_denied: called when the brokers deny us a right.
        overdue: whether the loop was to have ended by now, however things stand.

    Attributes:
        transactional_id: of its producer; the next owner ends what it leaves open by it.
        member: whether the broker still takes this owner's commits, as far as it has said.
        outcast: whether the group's rights are denied: nothing that is begun could be committed.
        refused: shards that stand still since what they have to write is refused, and why.
        alarms: why nothing can be committed until somebody has mended the brokers.
    """

    def __init__(
        self,
        engine: Engine,
        consumer: GroupConsumer,
        make_producer: Callable[[str], TransactionalProducer | IdempotentProducer],
        *,
        transactional: bool,
        queue: str,
        worker: str,
        process: str,
        metrics: WorkerMetrics,
        on_denied: Callable[[], None] = lambda: None,
        overdue: Callable[[], bool] = lambda: False,
    ) -> None:
        self._on_denied, self._overdue = on_denied, overdue
        self._engine, self._consumer, self._make_producer = engine, consumer, make_producer
        self._queue, self._worker, self._metrics = queue, worker, metrics
        self._process = process
        self._producer: TransactionalProducer | IdempotentProducer | None = None
        self._transactional = transactional
        self.transactional_id = self._new_id()
        self._announced = True
        self.member = True
        self.outcast = False
        self._stuck, self._rest_until = False, 0.0
        self.refused: dict[int, str] = {}
        self.alarms: tuple[str, ...] = ()
        self._try_again = self._tell_again = 0.0
        self._doubted: set[str] = set()
        self._under_way: Cycle | None = None
        self._unanswered = False
        self._clean: Collection[Partition] = ()

    @property
    def under_way(self) -> bool:
        """Whether a plain commit waits for the broker's word."""
        return self._under_way is not None

    def run(
        self, *, wait: bool = False, everything: bool = False, clean: Collection[Partition] = ()
    ) -> bool:
        """Make one cycle of all that was decided; False when it has to be tried again later.

        Args:
            wait: whether to wait for the broker's word on a plain commit too.
            everything: whether to commit of every owned partition, where there is news or not.
            clean: partitions of which to say that they are given back in order.
        """
        if self._under_way is not None and not wait:
            return True
        if not self._may_ask(wait=wait, clean=bool(clean)):
            return False
        self._clean = clean
        if self.refused and monotonic() >= self._try_again:
            self._try_again = monotonic() + REFUSED_RETRY
            self._engine.go_on()
        cycle = self._engine.cycle(everything=everything or bool(clean))
        if cycle is None:
            return True
        hit("cycle.taken")
        try:
            self._send(cycle, wait=wait)
        except (CycleFailed, CommitRefused) as error:
            self.member = not error.gone
            self._failed(cycle, error)
            return False
        except NotAMember as error:
            self.member = False
            logger.info("queue %s: %s", self._queue, error)
            self._engine.aborted(cycle)
            return False
        self.member = True
        return True

    def try_refused(self) -> None:
        """Have the next cycle try what stands still, which would be tried later: there is no later.

        What has ended of it is in no commit yet.
        """
        self._try_again = 0.0

    def _may_ask(self, *, wait: bool, clean: bool) -> bool:
        """Whether a cycle can be had now: not just after a denial, nor without a coordinator."""
        if monotonic() < self._rest_until and not clean:
            return False
        if not (wait or self._stuck or not self._announced):
            return True
        there = self._consumer.coordinated(COORDINATOR_PATIENCE)
        self._stuck = self._stuck and not there  # not one client after the other is left behind
        return there

    def confirm(self) -> bool:
        """Whether the broker still takes our commits, asked by one that changes nothing."""
        try:
            self._consumer.offsets({})
        except NotAMember as error:
            logger.info("queue %s: %s", self._queue, error)
            return False
        return self.run(wait=True, everything=True)

    def _send(self, cycle: Cycle, *, wait: bool) -> None:
        offsets = self._consumer.offsets(self._texts(cycle))
        if cycle.produces:
            if len(offsets) < len(cycle.notes) or not offsets:
                raise CycleFailed("partitions of this cycle are being taken away")
            self._settle()
            if not self._announced:
                self._announce()
            hit("cycle.settled")
            self._write(cycle, offsets)
            hit("cycle.transaction-done")
            self._committed(cycle, "transaction")
        elif offsets and (wait or self._unanswered):
            hit("cycle.plain")
            self._consumer.commit(offsets)
            self._under_way = None  # the engine must not hear of the older one last
            hit("cycle.plain-done")
            self._committed(cycle, "plain")
        elif offsets:
            hit("cycle.plain")
            self._under_way, self._unanswered = cycle, True
            self._consumer.begin_commit(offsets, self._answered)
            hit("cycle.plain-sent")

    def _texts(self, cycle: Cycle) -> dict[Partition, tuple[int, str]]:
        """What to commit, with what the next owner has to know of it."""
        return {
            partition: (
                note.offset,
                note.text(self.transactional_id, clean=partition in self._clean),
            )
            for partition, note in cycle.notes.items()
        }

    def _write(self, cycle: Cycle, offsets: list[Any]) -> None:
        now = round(wall() * 1000)
        records = [self._onward(move, now) for move in cycle.moves]
        records += [child for _, child in cycle.children]
        if ACTIVE and any(move.reason is Reason.EXHAUSTED for move in cycle.moves):
            hit("cycle.dead-letters")
        if self._producer is None:
            self._producer = self._make_producer(self.transactional_id or "")
        self._look_first(records)
        if isinstance(self._producer, TransactionalProducer):
            asks = partial(self._was_committed, cycle)
            self._producer.send(records, offsets, self._consumer.metadata, asks)
        else:
            self._producer.send(records)
            self._consumer.commit(offsets)

    def _was_committed(self, cycle: Cycle) -> bool | None:
        """Whether the group's offsets are those of this cycle; None: not known yet.

        Asked of the partitions that it writes from: what is beside their offsets tells that these
        records are done with, which no other commit has told (``Outbox.take``). Of the others it
        may be what a plain commit told before. Where all are somebody else's by now, nothing is
        there of ours, and what becomes of them is theirs to decide.
        """
        logs = [move.record.log for move in cycle.moves]
        logs += [record.log for record, _ in cycle.children]
        texts = self._texts(cycle)
        sources = {(log.topic, log.partition) for log in logs}
        found = self._consumer.committed(sources, STABLE_PATIENCE)
        if found is None:
            if self._overdue():
                raise LeftOpen(
                    "it was not to be found out in time what the last transaction came to; the "
                    "next owner of these partitions ends it, and runs what is not committed"
                )
            return None
        return any(found.get(pair) == texts[pair] for pair in sources)

    def _look_first(self, records: Sequence[Onward]) -> None:
        """Ask whether topics that were refused are there, before a second is waited for them."""
        if not self._doubted or self._producer is None:
            return
        absent = self._producer.missing(self._doubted.intersection(r.topic for r in records))
        refused = {
            (r.topic, r.partition): does_not_exist(r.topic) for r in records if r.topic in absent
        }
        if refused:
            raise CycleFailed("; ".join(sorted(set(refused.values()))), refused=refused)

    def _settle(self) -> None:
        """Have a plain commit that is under way answered first.

        It must not reach the coordinator after the transaction's higher offsets. The same offsets
        again, waited for on the same connection, come after it. Its own answer is told by a later
        poll, and until then no other is begun: it would be taken for that one's.
        """
        if self._under_way is not None:
            if offsets := self._consumer.offsets(self._texts(self._under_way)):
                self._consumer.commit(offsets)
                self._engine.committed(self._under_way)
            self._under_way = None

    def _answered(self, error: Any) -> None:
        cycle, self._under_way, self._unanswered = self._under_way, None, False
        if cycle is None:
            return
        if error is None:
            hit("cycle.plain-done")
            self._committed(cycle, "plain")
        else:
            self._failed(cycle, CommitRefused(error.str()))

    def _committed(self, cycle: Cycle, kind: str) -> None:
        self.alarms, self.outcast = (), False
        self._engine.committed(cycle)
        self._metrics.children(self._queue, len(cycle.children))
        self._metrics.cycle(self._queue, kind, "committed")
        if self.refused and cycle.produces:
            for number in {move.record.log.partition for move in cycle.moves}:
                if self.refused.pop(number, None):
                    logger.warning("queue %s: partition %d goes on", self._queue, number)
            if not self.refused:
                self._doubted.clear()

    def _stand_still(self, cycle: Cycle, refused: Mapping[Partition, str]) -> None:
        """Isolate the shards whose records are refused, and go on with the others."""
        topics = {topic: why for (topic, _), why in refused.items()}
        self._doubted |= topics.keys()
        why: dict[int, str] = {}
        for move in cycle.moves:
            number = move.record.log.partition
            if (move.topic, number) in refused:
                why[number] = refused[move.topic, number]
        for record, child in cycle.children:
            if child.topic in topics:
                why[record.log.partition] = topics[child.topic]
        self._engine.stand_still(why)
        news = why.keys() - self.refused.keys()
        self.refused.update(why)
        self._try_again = monotonic() + REFUSED_RETRY
        if news or monotonic() >= self._tell_again:
            self._tell_again = monotonic() + REFUSED_TOLD
            for number, reason in sorted(self.refused.items()):
                logger.error(
                    "queue %s: partition %d stands still: a record cannot be written: %s. Nothing "
                    "of it is committed or lost, other partitions go on, and it is tried again "
                    "every %g s%s",
                    self._queue,
                    number,
                    reason,
                    REFUSED_RETRY,
                    mended_by(reason),
                )

    def _failed(self, cycle: Cycle, error: CycleFailed | CommitRefused) -> None:
        self._engine.aborted(cycle)
        if isinstance(error, CycleFailed) and error.refused:
            self._stand_still(cycle, error.refused)
        self._metrics.cycle(self._queue, "transaction" if cycle.produces else "plain", "failed")
        logger.warning(
            "queue %s: a commit cycle of %s and %s failed (%s); nothing is lost, it is tried again",
            self._queue,
            counted(len(cycle.moves), "move"),
            counted(len(cycle.offsets), "offset"),
            error,
        )
        if TEXT_TOO_LONG in str(error) and not self.alarms:
            self.alarms = (too_long(error),)
            logger.error("queue %s: %s", self._queue, *self.alarms)
        if any(denial in str(error) for denial in DENIED):
            self._denied(error)
        if isinstance(error, CycleFailed) and error.fatal:
            self._producer, self._stuck = None, error.stuck
            if not error.stuck:  # else the next one, by the same id, ends what this one began
                self.transactional_id, self._announced = self._new_id(), False

    def _denied(self, error: CycleFailed | CommitRefused) -> None:
        """Have it found out which right is missing, and do not ask twice a second for it."""
        self._on_denied()
        if isinstance(error, CommitRefused) or not error.refused:
            self._rest_until = monotonic() + REFUSED_RETRY
        if GROUP_DENIED in str(error):
            self.outcast, self.member = True, False

    def _new_id(self) -> str | None:
        """A new one; its random part keeps it from fencing any producer but one that was stuck."""
        if not self._transactional:
            return None
        return f"{self._consumer.group}.{self._process}.{secrets.token_hex(4)}"

    def _announce(self) -> None:
        """Commit the id of a new producer before it opens a transaction that could be left open."""
        texts = {
            partition: (note.offset, note.text(self.transactional_id, clean=False))
            for partition, note in self._engine.standing.items()
        }
        if offsets := self._consumer.offsets(texts):
            self._consumer.commit(offsets)
        self._announced = True

    def _onward(self, move: Move, now_ms: int) -> Onward:
        message = move.record.message
        ours = write_move(
            delivery=move.delivery,
            reason=move.reason,
            failure=move.failure,
            failed_at_ms=now_ms,
            worker=self._worker,
        )
        return Onward(
            move.topic,
            move.record.log.partition,
            message.key(),
            message.value(),
            # Ours first: of very many only the first are read.
            [*ours, *foreign(headers_of(message))],
        )
