"""The loop of one queue: the one thread that owns its consumer and producer.

Each turn: collect outcomes, let time pass, start what may start, commit, poll. It polls for as long
as the process lives, so a job may take hours and the member stays in its group.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection

from streamjobs.clock import monotonic, wall
from streamjobs.engine.outbox import Partition
from streamjobs.errors import BrokerUnavailable
from streamjobs.executors.split import Executor
from streamjobs.failpoints import hit
from streamjobs.kafka.aside import Polled
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.membership import GroupDenied, InstanceIdTaken
from streamjobs.kafka.outcome import LeftOpen
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.worker.commit import COORDINATOR_PATIENCE, CommitCycle
from streamjobs.worker.giving_back import GivingBack
from streamjobs.worker.idle import Idle
from streamjobs.worker.lease import Lease
from streamjobs.worker.lost_tiers import LostTiers
from streamjobs.worker.pace import Pace
from streamjobs.worker.parts import DENIED_RETRY, JOIN_RETRY, Parts, State, StoppedFirst
from streamjobs.worker.questions import Questions
from streamjobs.worker.suspects import Suspects
from streamjobs.worker.tally import Tally
from streamjobs.worker.telling import Telling, troubles

logger = logging.getLogger("streamjobs.worker")

# With enough in hand the loop waits for outcomes instead of polling, this many seconds at most.
FULL_WAIT, FULL_BATCH, FULL_POLL = 0.005, 256, 0.25


class QueueLoop(threading.Thread):
    """Runs one queue until it is stopped.

    Args:
        queue: its name.
        parts: to begin with.
        renew: is told what topics there are and which tiers are read; returns parts to join with,
            or raises BrokerUnavailable when it cannot say.
        executor: runs the attempts.
        drain_budget: seconds that running jobs have to end when partitions are taken away or the
            loop is stopped.
    """

    def __init__(
        self,
        queue: str,
        parts: Parts,
        renew: Callable[[Collection[str], Collection[str]], Parts | None],
        executor: Executor,
        *,
        metrics: WorkerMetrics,
        drain_budget: float,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name=f"streamjobs-{queue}", daemon=True)
        self.queue, self._parts, self._renew, self._executor = queue, parts, renew, executor
        self.engine = parts.engine
        self._metrics, self._drain_budget, self._on_end = metrics, drain_budget, on_end
        self._stop_asked, self._stop_by = threading.Event(), math.inf
        self.state = State.JOINING
        self.error: BaseException | None = None
        self.tally = Tally()
        self.last_turn = monotonic()
        self.questions = Questions()
        self._lease = Lease()
        self._last_poll, self._pace, self._idle = 0.0, Pace(), Idle()
        self._joined, self._cut_off, self._name_taken = False, False, ""
        self._lost_tiers = LostTiers(queue)
        self._suspects, self._telling = Suspects(executor), Telling(queue, self.tally)

    # -- called by others --------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the loop to drain and leave its group; may be called twice, and before ``start``."""
        self._stop_by = min(self._stop_by, monotonic() + self._drain_budget)
        self._stop_asked.set()

    @property
    def troubles(self) -> list[str]:
        """What keeps some of its partitions from going on, a sentence each."""
        if self._name_taken:
            return [self._name_taken]
        cycle: CommitCycle | None = getattr(self, "_cycle", None)  # there is none before it joins
        if cycle is None:
            return []
        told = troubles(self._consumer.missing, cycle.refused)
        return [*told, *self._taking.troubles, *cycle.alarms]

    @property
    def given(self) -> frozenset[Partition]:
        """The partitions that its client has handed over."""
        consumer: GroupConsumer | None = getattr(self, "_consumer", None)
        return frozenset() if consumer is None else consumer.given

    # -- the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """Turn until stopped; an error ends the loop and is kept in ``error``."""
        try:
            try:
                self._join()
                while not self._stop_asked.is_set():
                    self._turn()
                self.state = State.DRAINING
                self._executor.halt()
                self._give_back("stopping", self.engine.owned)
            except BaseException as error:
                # A cycle may be half made: nothing more is committed, whoever comes next does it
                # again. Leaving the group takes partitions back, which would commit.
                self.state = State.STOPPED
                self._cut_off |= isinstance(error, LeftOpen)
                raise
            finally:
                self._leave()
        except StoppedFirst:
            logger.info("queue %s: stopped before it had joined its group", self.queue)
        except BaseException as error:  # noqa: BLE001 - told by the runner, which then ends
            logger.critical("queue %s: the loop ends: %s", self.queue, error)
            self.error = error
        finally:
            self.state = State.STOPPED
            self._executor.stop()
            self._on_end()

    def _join(self) -> None:
        """Become a member.

        Raises:
            StoppedFirst: the group's coordinator had not answered before that.
        """
        self._consumer = self._parts.join(self, self._stop_asked)
        self._cycle = self._parts.make_cycle(self._consumer, lambda: monotonic() > self._stop_by)
        self._taking = self._parts.make_taking(self._consumer)
        self._joined = True
        self.last_turn = monotonic()
        self._idle.begin()

    def _leave(self) -> None:
        if not self._joined:
            return
        self._joined = False
        self._taking.close()
        if self._cut_off:
            self.engine.revoked([*self.engine.owned])
            self._consumer.abandon()
        else:
            self._consumer.close()

    def _rejoin(self, parts: Parts) -> None:
        """Begin anew with a ladder that has grown, or one of whose topics was made anew.

        An older job may lie in a new tier: another release can have moved it there while a shard
        was its. A consumer that does not read that tier would start the job's followers before it.
        And offsets of a topic that was deleted say nothing of another one of its name.
        """
        while not self._consumer.coordinated(COORDINATOR_PATIENCE):
            if self._stop_asked.is_set():
                return
            self._keep_going(FULL_WAIT)  # one that hears no farewell keeps our place for long
        self._telling.joins_again(parts.tiers - self._parts.tiers)
        # While the client leaves, it may count as no member any more before it takes back what it
        # was given (librdkafka 2.16, KIP-848): by then all of it has to be committed.
        self._give_back("joins again", self.engine.owned)
        if self._stop_asked.is_set():
            return
        self._leave()
        self.state = State.JOINING
        parts.engine.breaker = self.engine.breaker
        self._parts, self.engine = parts, parts.engine
        self.questions.forget()
        self._join()

    def _join_later(self, why: Exception, pause: float = JOIN_RETRY) -> None:
        """Try to join until our name in the group is free, or until we may be in it at all."""
        if not self._name_taken:
            self._name_taken = f"not in its group yet: {why}"
            self._telling.not_joined(self._name_taken, denied=isinstance(why, GroupDenied))
        if owned := list(self.engine.owned):
            self.lost(owned)
        self._leave()
        self.questions.forget()
        self._stop_asked.wait(pause)
        self._join()

    def _turn(self) -> None:
        now = monotonic()
        self._lease.turns(now - self.last_turn, outcast=self._cycle.outcast)
        self.last_turn = now
        self._collect()
        if self._telling.is_due(now):
            self._telling.failures(self.engine.last_move)
        self.engine.tick(wall())
        if self.state is State.JOINING and self._idle.is_sure(self._consumer, now):
            logger.info("queue %s: no partition for this worker so far", self.queue)
            self.state = State.RUNNING
        self._take_shards(now)
        if self._lease.holds or self._still_member(now):
            self._begin(now)
        self._commit_when_due(now)
        # What a failed cycle has to say too, before the next poll.
        self._taking.carry_out(self.engine.take_flow())
        if self.engine.full and now - self._last_poll < FULL_POLL:
            self._executor.wait(FULL_WAIT, min(FULL_BATCH, self.engine.load // 2))
        else:
            self._poll(self._timeout(now))
            self._last_poll = now

    def _collect(self) -> None:
        if records := self._executor.collect():
            hit("loop.collected")
            self.engine.finished(records, wall())
        counts = self.engine.counts
        if counts:
            self.tally.add(counts, monotonic())
            self._metrics.attempts_finished(self.queue, counts)
            counts.clear()
        if self._telling.has_tripped(self.engine.breaker, records):
            self._executor.give_back()

    def _take_shards(self, now: float) -> None:
        """Have shards taken that have become whole, once it is known that the ladder is whole."""
        self._lost_tiers.look_when_due(self.engine, self._consumer, now)
        self.questions.add(self.engine.take_questions())
        if self.questions.are_due(now) and (topics := self._consumer.topics()) is not None:
            self.questions.outdated = False
            try:
                parts = self._renew(topics, self.engine.tiers)
            except BrokerUnavailable as error:
                logger.warning("queue %s: cannot look at its topics: %s", self.queue, error)
                self.questions.put_off(monotonic())
                return
            if parts is not None:
                self._rejoin(parts)
                return
            self._taking.begin(self.questions.take())
        vanished = self._taking.busy and self._taking.go_on(self._cycle.transactional_id, now)
        expected = self._taking.expects_suspects
        self._suspects.look(self.engine, vanished=vanished, expected=expected)

    def _still_member(self, now: float) -> bool:
        """After a long sleep: begin nothing before the broker has taken a commit of ours.

        It takes none of a member that it has removed; that one is told so in a later poll.
        """
        if now >= self._pace.commit:
            slept, member = self._lease.slept, self._cycle.confirm()
            self._pace.went(now, done=self._lease.confirmed(member=member))
            if slept:
                self._telling.stood_still(self._lease.seconds, member=member)
        return self._lease.holds

    def _begin(self, now: float) -> None:
        self._executor.lease = now + self._lease.seconds
        for rank, runs in enumerate(self.engine.take_ranked()):
            if runs:
                self._executor.submit(runs, rank)
        self._executor.nudge()

    def _commit_when_due(self, now: float, *, wait: bool = False) -> None:
        engine = self.engine
        if not self._pace.is_due(now, moves=engine.moves_wait, mark=engine.alone.marks):
            return
        self._pace.went(now, done=self._cycle.run(wait=wait))
        self._metrics.state(
            self.queue,
            in_hand=engine.load,
            held=engine.held,
            partitions=len(engine.owned),
            breaker_open=engine.tripped,
        )

    def _timeout(self, now: float) -> float:
        busy = self.engine.load or self._cycle.under_way or self._taking.busy
        due = None if busy else self.engine.next_due()
        return self._pace.patience(now, bool(busy), None if due is None else due - wall())

    def _poll(self, timeout: float) -> None:
        try:
            polled = self._consumer.poll(timeout)
        except GroupDenied as denied:
            self._join_later(denied, DENIED_RETRY)
            return
        except InstanceIdTaken as taken:
            if not taken.for_now or self.state is not State.JOINING:
                raise
            self._join_later(taken)
            return
        if polled.messages:
            self._count(polled)
            self.engine.received(polled.messages, wall())
        for topic, partition, offset in polled.ends:
            self.engine.ended(topic, partition, offset, wall())
        if deleted := self._taking.find(polled.strayed, monotonic()):
            self._metrics.deleted(self.queue, deleted)

    def _count(self, polled: Polled) -> None:
        self.tally.begin(monotonic())
        self._metrics.received(self.queue, len(polled.messages))
        self._telling.clock(polled.messages[-1], wall())

    # -- rebalances, inside poll and close ---------------------------------------------------

    def assigned(self, partitions: list[Partition]) -> None:
        """The group gives us these too."""
        self._telling.partitions(logging.INFO, "assigned", partitions)
        if any(topic in self._parts.tiers - self.engine.tiers for topic, _ in partitions):
            self.questions.outdated = True  # a retry topic is back: see ``_rejoin``
        self.engine.assigned(partitions)
        self._cycle.outcast = False
        hit("loop.assigned")
        self._name_taken = ""
        if self.state is State.JOINING:
            self.state = State.RUNNING

    def revoked(self, partitions: list[Partition]) -> None:
        """The group takes these back: let their running jobs end, commit, forget the rest.

        All of it happens here, since they are somebody else's when this returns. Shards that are
        kept go on meanwhile: with what is in hand, and, as the consumer hands nothing over in here,
        with what another one reads.
        """
        self._telling.partitions(logging.INFO, "revoked", partitions)
        hit("loop.revoked")
        if self._joined and self.state is State.RUNNING:
            self._give_back("partitions are taken back", partitions)
        hit("loop.drained")
        self.engine.revoked(partitions)
        self._taking.forget(partitions)

    def lost(self, partitions: list[Partition]) -> None:
        """These are somebody else's already: nothing of them may be committed."""
        self._telling.partitions(logging.WARNING, "lost", partitions)
        hit("loop.lost")
        self.engine.revoked(partitions)
        self._taking.forget(partitions)
        if self.state is State.RUNNING and not self.engine.owned:
            self.state = State.JOINING
            self._idle.begin()

    def _give_back(self, why: str, partitions: Collection[Partition]) -> None:
        """Begin nothing of these, let their running jobs end within the budget, commit all.

        Args:
            why: for the log.
            partitions: whole shards; nothing of them runs on after this.
        """
        self._lost_tiers.look(self.engine, self._consumer)
        numbers = {number for _, number in partitions}
        self.engine.withhold(numbers)
        self._executor.give_back()
        self._collect()
        self._telling.gives_back(why, self.engine.load)
        giving = GivingBack(
            self.engine,
            self._executor,
            self._consumer,
            self._cycle,
            deadline=monotonic() + self._drain_budget,
            go_on=self._keep_going,
            count=self._count,
        )
        # When the process ends, what runs of lost partitions is waited for too.
        running = giving.let_end(None if self.state is State.DRAINING else numbers)
        self._collect()
        self._telling.failures(self.engine.last_move)
        if running:
            self._telling.not_done(why, self._drain_budget, running)
        # Leaving in good order asks the group's coordinator, and waits for it again.
        draining = self.state is State.DRAINING
        if not partitions:
            self._cut_off = draining and not self._consumer.coordinated(COORDINATOR_PATIENCE)
        elif not giving.commit(partitions):
            self._telling.not_committed(why, self._drain_budget, self._cycle)
            self._cut_off = draining and self._cycle.member

    def _keep_going(self, seconds: float) -> None:
        """A turn without the consumer, for the shards that are kept."""
        self._executor.wait(seconds, FULL_BATCH)
        now = monotonic()
        self._lease.turns(now - self.last_turn, outcast=self._cycle.outcast)
        self.last_turn = now
        self._collect()
        self.engine.tick(wall())
        if self._lease.holds or self._still_member(now):
            self._begin(now)
        # Waited for: the answer to one that is not comes in a later poll.
        self._commit_when_due(now, wait=True)
