"""The loop of a queue, run in the test's own thread: each poll is the next step of a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from unit.engine.drive import FAILED, LONG, MAIN, SHORT, TOPICS, FakeMessage

from streamjobs.breaker import Breaker
from streamjobs.clock import monotonic, wall
from streamjobs.engine import alone
from streamjobs.engine.breaker import BreakerState
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import Note
from streamjobs.engine.outbox import Partition
from streamjobs.engine.records import Record
from streamjobs.engine.suspicion import Suspicion
from streamjobs.errors import BrokerUnavailable
from streamjobs.executors.threads import ThreadExecutor
from streamjobs.kafka.aside import Polled
from streamjobs.kafka.membership import GroupDenied
from streamjobs.kafka.outcome import LeftOpen
from streamjobs.kafka.standing import Ends, Stand, Stands
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.worker import giving_back, idle, lease, pace, questions, telling
from streamjobs.worker import loop as loop_module
from streamjobs.worker import parts as parts_module
from streamjobs.worker.loop import QueueLoop
from streamjobs.worker.parts import Parts, State
from streamjobs.worker.suspects import Suspects
from streamjobs.worker.taking import Taking, Topics

NEWEST = TOPICS.tier(5)
SHARD: list[Partition] = [(t, 0) for t in (MAIN, SHORT, LONG)]
Step = Callable[[QueueLoop], Polled | None]


@dataclass
class Asks:
    """A broker that answers at once: what the script says, and that tiers are empty."""

    script: Script
    ready: list[Stands | Ends] = field(default_factory=list)
    held_up = False

    def stands(self, shards: Mapping[int, tuple[object, Sequence[Partition]]]) -> None:
        for number, (token, partitions) in shards.items():
            stood = {t: self.script.stands.get(t, Stand(None)) for t, _ in partitions}
            self.ready.append(Stands(number, token, stood))

    def ends(
        self, number: int, token: object, partitions: Any, _: Sequence[str], *, gone: bool
    ) -> None:
        assert isinstance(gone, bool)
        self.ready.append(Ends(number, token, {topic: 0 for topic, _ in partitions}))

    def answers(self) -> list[Stands | Ends]:
        ready, self.ready = self.ready, []
        return ready

    def forget(self, numbers: Collection[int]) -> None:
        assert numbers

    def close(self) -> None:
        pass


@dataclass
class Aside:
    """Another consumer, that reads kept shards; each poll is the next step of its script."""

    script: Script

    def poll(self) -> Polled:
        return self.script.aside_steps.pop(0) if self.script.aside_steps else Polled()

    def close(self) -> None:
        self.script.diary.append("aside closed")


@dataclass
class Script:
    """A consumer, a commit cycle and handlers, all in one diary."""

    steps: list[Step] = field(default_factory=list)
    budget: float = 5.0
    capacity: int = 100
    diary: list[Any] = field(default_factory=list)
    succeeds: list[bool] = field(default_factory=list)
    confirms: list[bool] = field(default_factory=list)
    coordinators: list[bool] = field(default_factory=list)
    there: list[set[str] | None] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    leaves: Callable[[QueueLoop], None] = lambda _: None  # what the client calls as it does
    joins_again: bool = True
    silent: int = 0
    refusals: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    running: threading.Event = field(default_factory=threading.Event)
    ran: list[tuple[int, int]] = field(default_factory=list)
    under_way: bool = False
    stands: dict[str, Stand] = field(default_factory=dict)
    claims: list[dict[Partition, tuple[int, str]]] = field(default_factory=list)
    transactional_id: str | None = None
    member: bool = True
    outcast: bool = False
    aside_steps: list[Polled] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.deadline = monotonic() + 10.0
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0))
        self.engine = Engine(ladder, capacity=self.capacity)
        self.loop = QueueLoop(
            "mail",
            self.parts(SHORT, LONG),
            self.renew,
            ThreadExecutor(lambda _: self.attempt, 2, "test"),
            metrics=WorkerMetrics(CollectorRegistry()),
            drain_budget=self.budget,
            on_end=lambda: self.diary.append("ended"),
        )

    def attempt(self, record: Record) -> None:
        self.ran.append((record.log.partition, record.offset))
        self.running.set()
        if record.key == b"opens":
            self.go.set()
        if (record.key or b"").startswith(b"slow"):
            self.go.wait(10)
        record.job = "send"
        record.result = FAILED if record.key in {b"bad", b"worse"} else None

    # -- as the consumer ---------------------------------------------------------------------

    def poll(self, _timeout: float) -> Polled:
        if not self.steps or monotonic() > self.deadline:
            self.loop.stop()
            return Polled()
        return self.steps.pop(0)(self.loop) or Polled()

    def close(self) -> None:
        self.leaves(self.loop)
        self.diary.append("closed")

    def coordinated(self, _timeout: float) -> bool:
        return self.coordinators.pop(0) if self.coordinators else True

    def abandon(self) -> None:
        self.diary.append("abandoned")

    def topics(self) -> set[str] | None:
        return self.there.pop(0) if self.there else {MAIN, SHORT, LONG}

    def absent(self, topics: Collection[str]) -> set[str]:
        return self.gone.intersection(topics)

    def renew(self, topics: Collection[str], _: Collection[str]) -> Parts | None:
        if self.silent:
            self.silent -= 1
            self.diary.append("silent")
            raise BrokerUnavailable("no answer")
        if topics == {MAIN, SHORT, LONG}:
            return None
        self.diary.append("renewed")
        reads = {SHORT: 1.0, NEWEST: 5.0, LONG: 10.0}
        ladder = Ladder(TOPICS, (MAIN,), reads, (1.0, 10.0))
        self.engine = Engine(ladder, capacity=self.capacity)
        return self.parts(*reads)

    def parts(self, *tiers: str) -> Parts:
        stand: Any = self
        engine, asks = self.engine, Asks(self)

        def make_taking(_: Any) -> Taking:
            return Taking(engine, stand, asks, Topics("shop.mail", tiers, {}))

        def join(_: Any) -> Any:
            if "closed" in self.diary and not self.joins_again:
                self.loop.stop()
                raise BrokerUnavailable("no coordinator")
            return stand

        def make_cycle(_: Any, overdue: Callable[[], bool]) -> Any:
            self.overdue = overdue
            return stand

        return Parts(engine, frozenset(tiers), join, make_cycle, make_taking)

    def offsets(self, offsets: dict[Partition, tuple[int, str]]) -> Any:
        return offsets

    def commit(self, offsets: dict[Partition, tuple[int, str]]) -> None:
        self.claims.append(offsets)

    def seek(self, partition: Partition, offset: int) -> None:
        self.diary.append(("seek", partition, offset))

    def pause(self, partitions: list[Partition]) -> None:
        self.diary.append(("pause", partitions))

    def resume(self, partitions: list[Partition]) -> None:
        self.diary.append(("resume", partitions))

    def aside(self, positions: Mapping[Partition, int]) -> Aside | None:
        self.diary.append(("aside", dict(positions)))
        return Aside(self) if positions else None

    # -- as the commit cycle -----------------------------------------------------------------

    def run(self, *, wait: bool = False, clean: Collection[Partition] = ()) -> bool:
        engine = self.loop.engine
        cycle = engine.cycle()
        if cycle is None:
            return True
        done = self.succeeds.pop(0) if self.succeeds else True
        (engine.committed if done else engine.aborted)(cycle)
        moved = [move.record.offset for move in cycle.moves]
        self.diary.append(("cycle", cycle.offsets.get((MAIN, 0)), moved, wait, done))
        return done

    def confirm(self) -> bool:
        still = self.confirms.pop(0) if self.confirms else True
        self.diary.append(("confirm", still, self.running.is_set()))
        return still

    def try_refused(self) -> None:
        self.refusals += 1

    # -- steps -------------------------------------------------------------------------------

    def brings(self, *offsets: int, key: bytes | None = None) -> Step:
        messages = [FakeMessage(MAIN, offset, key) for offset in offsets]
        return lambda _: Polled(list(messages))

    def goes(self, _: QueueLoop) -> None:
        """Soon, but not before the next step, what is slow ends."""
        threading.Timer(0.1, self.go.set).start()

    def until(self, true: Callable[[], Any]) -> Step:
        """Poll for nothing until it is true."""

        def step(_: QueueLoop) -> None:
            if not true():
                self.steps.insert(0, step)
            threading.Event().wait(0.001)

        return step

    @property
    def committed(self) -> int | None:
        """What of main is committed."""
        cycles = [entry for entry in self.diary if entry[0] == "cycle" and entry[4]]
        return max((offset for _, offset, *_ in cycles if offset is not None), default=None)


def assigned(loop: QueueLoop) -> None:
    loop.assigned(SHARD)


def revoked(loop: QueueLoop) -> None:
    loop.revoked(SHARD)


def lost(loop: QueueLoop) -> None:
    loop.lost(SHARD)


@pytest.fixture
def make() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def build(**how: Any) -> Script:
        made.append(Script(**how))
        return made[-1]

    yield build
    for script in made:
        script.go.set()
        assert script.loop._executor.join(5.0)


def test_it_runs_commits_and_leaves_in_good_order(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [assigned, script.brings(0, 1), script.until(lambda: script.committed == 2)]

    script.loop.run()

    assert script.loop.error is None
    assert script.loop.state is State.STOPPED
    assert script.diary[-2:] == ["closed", "ended"]
    assert script.loop.tally.outcomes == {"succeeded": 2}


def test_stopping_waits_for_running_jobs_and_commits_them(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [
        assigned,
        script.brings(0, 1, key=b"slow"),
        script.until(script.running.is_set),
        script.goes,
    ]

    script.loop.run()

    # The second was not begun: it is for the next worker.
    assert script.loop.tally.outcomes["succeeded"] == 1
    assert script.diary[-3:] == [("cycle", 1, [], True, True), "closed", "ended"]


def test_while_it_drains_nothing_is_begun(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [
        assigned,
        script.brings(0, 1, key=b"slow"),
        script.brings(2, 3, key=b"slow too"),
        script.brings(*range(4, 20)),
        script.until(script.running.is_set),
        script.goes,
    ]

    script.loop.run()

    # Two threads were busy, with a job of each key: all the rest is for the next worker.
    assert 1 <= script.loop.tally.outcomes["succeeded"] <= 2
    assert script.committed in (None, 0, 1)


def test_after_it_stood_still_nothing_begins_before_the_broker_took_a_commit(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a loop that sleeps for longer than its lease, and finds a job when it wakes
    monkeypatch.setattr(lease, "LEASE", 0.1)
    monkeypatch.setattr(pace, "COMMIT_RETRY", 0.02)
    script = make(confirms=[False, False, True])

    def sleeps(_: QueueLoop) -> Polled:
        threading.Event().wait(0.2)
        return Polled([FakeMessage(MAIN, 0)])

    # When the broker refuses it twice, and then takes a commit
    script.steps = [assigned, sleeps, script.until(lambda: script.committed == 1)]
    script.loop.run()

    # Then the job began after that
    said = [entry for entry in script.diary if entry[0] == "confirm"]
    assert said[:3] == [("confirm", False, False), ("confirm", False, False), said[2]]
    assert said[2] == ("confirm", True, False)
    assert script.loop.tally.outcomes == {"succeeded": 1}


def test_while_the_group_takes_no_commits_of_ours_nothing_begins(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a member that was denied its group's rights, and has a job in hand
    monkeypatch.setattr(pace, "COMMIT_RETRY", 0.02)
    script = make(confirms=[False, False, True])

    def denied(_: QueueLoop) -> Polled:
        script.outcast = True
        return Polled([FakeMessage(MAIN, 0)])

    def allowed(_: QueueLoop) -> None:
        script.outcast = False

    # When a commit is taken in the end
    asked = script.until(lambda: ("confirm", False, False) in script.diary)
    script.steps = [assigned, denied, asked, allowed, script.until(lambda: script.committed == 1)]
    script.loop.run()

    # Then the job began behind it, and that it slept is not said: it did not
    assert ("confirm", True, False) in script.diary
    assert script.loop.tally.outcomes == {"succeeded": 1}
    assert "stood still" not in caplog.text


def test_who_may_not_be_in_the_group_loses_all_and_joins_again(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a member with a job that runs
    monkeypatch.setattr(loop_module, "DENIED_RETRY", 0.01)
    script = make()

    def denied(_: QueueLoop) -> Polled:
        script.diary.append("denied")
        raise GroupDenied("shop.mail")

    # When the group is denied to it, twice, and then given again
    script.steps = [
        assigned,
        script.brings(0, key=b"slow"),
        script.until(script.running.is_set),
        denied,
        denied,
        assigned,
        script.brings(1),
        lambda _: script.go.set(),
        script.until(lambda: script.committed is not None),
    ]
    script.loop.run()

    # Then it has left and joined each time, and nothing is committed of what ran before that
    assert script.loop.error is None
    assert script.diary.count("closed") == 3
    offsets = [entry[1] for entry in script.diary if entry[0] == "cycle"]
    assert 1 not in offsets


def test_the_end_of_a_partition_is_committed(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [
        assigned,
        lambda _: Polled(ends=[(MAIN, 0, 7)]),
        script.until(lambda: script.committed == 7),
    ]

    script.loop.run()

    assert script.committed == 7


def test_a_clock_far_behind_the_brokers_is_told_once(
    make: Callable[..., Script], caplog: pytest.LogCaptureFixture
) -> None:
    script = make()

    def stamped(offset: int, ahead: float) -> Step:
        message = FakeMessage(MAIN, offset, at=wall() + ahead)
        return lambda _: Polled([message])

    script.steps = [assigned, stamped(0, 30.0)]
    script.steps += [script.until(lambda: "behind the broker" not in caplog.text)]
    script.steps += [stamped(1, 3_600.0), stamped(2, 3_600.0)]
    script.steps += [script.until(lambda: script.committed == 3)]
    script.loop.run()

    (line,) = [each.getMessage() for each in caplog.records if "behind" in each.getMessage()]
    assert "the clock here is 3600 s behind the broker's" in line


def test_the_last_failures_are_told_though_the_loop_stops(
    make: Callable[..., Script], caplog: pytest.LogCaptureFixture
) -> None:
    script = make()
    script.steps = [
        assigned,
        script.brings(0, key=b"bad"),
        script.until(lambda: script.committed == 1),
        script.brings(1, key=b"worse"),
        script.until(lambda: script.committed == 2),
    ]

    script.loop.run()

    assert caplog.text.count("1 attempt failed, 0 jobs dead") == 2


def test_failures_are_told_though_no_other_job_ends(
    make: Callable[..., Script], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "LOG_INTERVAL", 0.2)
    script = make()
    script.steps = [
        assigned,
        script.brings(0, key=b"bad"),
        script.until(lambda: script.committed == 1),
        script.brings(1, key=b"worse"),
        script.until(lambda: caplog.text.count("1 attempt failed, 0 jobs dead") == 2),
    ]

    script.loop.run()

    assert not script.steps


def test_what_does_not_end_within_the_budget_is_not_committed(
    make: Callable[..., Script], caplog: pytest.LogCaptureFixture
) -> None:
    script = make(budget=0.05)
    script.steps = [assigned, script.brings(0, key=b"slow"), script.until(script.running.is_set)]

    script.loop.run()

    assert script.committed in (None, 0)
    assert "after 0.05 s 1 job is not done; what is not done runs again elsewhere" in caplog.text


def test_partitions_are_given_back_only_after_their_jobs_ended_and_are_committed(
    make: Callable[..., Script],
) -> None:
    script = make()
    script.steps = [
        assigned,
        script.brings(0, key=b"slow"),
        script.brings(1, key=b"bad"),
        script.until(script.running.is_set),
        script.goes,
        revoked,
    ]

    script.loop.run()

    assert script.committed == 2
    moved = [offset for entry in script.diary if entry[0] == "cycle" for offset in entry[2]]
    assert moved == [1]
    assert script.engine.owned == set()


def test_shards_that_are_kept_go_on_while_another_is_given_back(
    make: Callable[..., Script],
) -> None:
    # Given a job that runs in a partition, and more in hand, of that one and of another
    script = make()
    kept = [(topic, 1) for topic, _ in SHARD]

    def taken_back(loop: QueueLoop) -> None:
        keys = {0: b"never", 1: b"fast"}
        for number, key in keys.items():
            messages = [FakeMessage(MAIN, n, key, number) for n in range(1, 5)]
            script.engine.received(messages, 0.0)
        script.engine.received([FakeMessage(MAIN, 5, b"opens", 1)], 0.0)
        # When the first partition is taken back
        loop.revoked(SHARD)
        script.diary.append("given back")

    script.steps = [
        assigned,
        lambda loop: loop.assigned(kept),
        script.until(lambda: len(script.claims) == 2),
        script.brings(0, key=b"slow"),
        script.until(script.running.is_set),
        taken_back,
        script.until(lambda: len(script.ran) == 6),
    ]

    script.loop.run()

    # Then the jobs of the other run to their end meanwhile, the running one waits for one of them,
    # and no other one of its own begins
    assert script.ran[0] == (0, 0)
    assert sorted(script.ran[1:]) == [(1, n) for n in range(1, 6)]
    assert script.loop.error is None
    before = script.diary[: script.diary.index("given back")]
    assert ("cycle", 1, [], True, True) in before


def test_a_kept_shard_with_nothing_in_hand_is_read_by_another_consumer(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a slow job in one of two shards, and nothing in the other
    monkeypatch.setattr(giving_back, "READ_ASIDE", 0.0)
    script = make()
    kept = [FakeMessage(MAIN, offset, b"opens", partition_=1) for offset in (5, 6)]
    script.aside_steps = [Polled([kept[0]]), Polled([], [(MAIN, 1, 6)])]

    def takes_back(loop: QueueLoop) -> None:
        loop.revoked(SHARD)

    script.steps = [
        lambda loop: loop.assigned([*SHARD, *((t, 1) for t, _ in SHARD)]),
        script.brings(0, key=b"slow"),
        lambda _: Polled([], [(t, 1, 5 if t == MAIN else 0) for t, _ in SHARD]),
        script.until(script.running.is_set),
        # When the first is given back, which takes until a job of the other has run
        takes_back,
        # And the consumer brings that one again, and the next
        lambda _: Polled([kept[0]], [(MAIN, 1, 5)]),
        lambda _: Polled(list(kept)),
        script.until(lambda: (1, 6) in script.ran),
    ]

    script.loop.run()

    # Then it ran during the drain, from where the engine stood, and once
    assert script.loop.error is None
    ((_, positions),) = [entry for entry in script.diary if entry[0] == "aside"]
    assert positions[MAIN, 1] == 5
    assert (MAIN, 0) not in positions
    assert script.ran == [(0, 0), (1, 5), (1, 6)]
    assert "aside closed" in script.diary


def test_the_last_commit_is_asked_for_again_until_the_broker_takes_it(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_back, "COMMIT_RETRY", 0.001)
    script = make()
    script.steps = [assigned, script.brings(0, key=b"slow"), script.until(script.running.is_set)]
    script.steps.append(script.goes)
    script.succeeds = [False] * 20

    script.loop.run()

    last = [entry for entry in script.diary if entry[0] == "cycle"][-1]
    assert last == ("cycle", 1, [], True, True)
    assert script.succeeds == []


@pytest.mark.parametrize(
    ("member", "budget", "told"),
    [
        (False, 5.0, "its group, which has gone on without it, takes no last commit"),
        (True, 0.2, "has not taken the last commit within 0.2 s"),
    ],
)
def test_a_commit_that_nobody_takes_is_told_and_not_asked_for_for_ever(
    make: Callable[..., Script],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    member: bool,
    budget: float,
    told: str,
) -> None:
    monkeypatch.setattr(giving_back, "COMMIT_RETRY", 0.001)
    script = make(budget=budget)
    script.member = member
    script.steps = [assigned, script.brings(0, key=b"opens"), script.until(script.running.is_set)]
    script.succeeds = [False] * 100_000

    script.loop.run()

    assert told in caplog.text
    tries = 100_000 - len(script.succeeds)
    assert tries < 6 or member
    # And who may be in the group still does not wait for the coordinator a second time
    assert script.diary[-2:] == ["abandoned" if member else "closed", "ended"]
    assert script.engine.owned == set() or not member


def test_after_a_rebalance_jobs_are_begun_again(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [
        assigned,
        revoked,
        assigned,
        script.brings(0),
        script.until(lambda: script.committed == 1),
    ]

    script.loop.run()

    assert script.loop.tally.outcomes["succeeded"] == 1


def test_who_was_left_behind_by_its_group_is_joining_until_the_coordinator_answers(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a member whose partitions are somebody else's, and a coordinator that is away at first
    monkeypatch.setattr(idle, "IDLE_AFTER", 0.01)
    script = make()
    script.coordinators = [False, False, True]
    states = []

    def noted(loop: QueueLoop) -> None:
        states.append(loop.state)

    script.steps = [
        assigned,
        noted,
        lambda loop: loop.lost(SHARD),
        noted,
        script.until(lambda: script.loop.state is State.RUNNING),
        noted,
    ]

    # When it goes on, then it is no member before the coordinator has answered
    script.loop.run()
    assert states == [State.RUNNING, State.JOINING, State.RUNNING]
    assert script.coordinators == []


def test_of_what_was_lost_nothing_is_committed(make: Callable[..., Script]) -> None:
    script = make()
    script.steps = [
        assigned,
        script.brings(0, key=b"slow"),
        script.until(script.running.is_set),
        lost,
        script.goes,
        script.brings(5),
    ]

    script.loop.run()

    assert script.committed in (None, 0)
    assert script.loop.tally.outcomes == {}


def test_when_the_ladder_has_grown_it_joins_again_before_anything_starts(
    make: Callable[..., Script],
) -> None:
    # Given a broker that does not answer at first, and then has a tier more
    script = make(there=[None, {MAIN, SHORT, NEWEST, LONG}])

    def grown(loop: QueueLoop) -> None:
        assert not script.running.is_set()
        loop.assigned([*SHARD, (NEWEST, 0)])

    # When a shard is to be taken, with a job in main
    script.steps = [assigned, script.brings(0), script.until(lambda: "closed" in script.diary)]
    script.steps += [grown, script.brings(0), script.until(lambda: script.committed == 1)]
    script.loop.run()

    # Then the group is left, joined with the new tier, and the job runs once
    assert script.diary[:2] == ["renewed", "closed"]
    assert script.loop.tally.outcomes == {"succeeded": 1}
    assert script.loop.error is None


def test_before_it_joins_again_all_is_committed_that_has_ended(
    make: Callable[..., Script],
) -> None:
    # Given a member whose client, as it leaves, is given partitions more, counts as no member any
    # more, and only then takes back what it was given
    script = make()

    def leaves(loop: QueueLoop) -> None:
        loop.assigned([(MAIN, 2)])
        script.succeeds = [False] * 100
        script.member = False
        loop.revoked(SHARD)
        script.succeeds.clear()
        script.member = True

    def another(loop: QueueLoop) -> None:
        script.leaves = leaves
        script.there = [{MAIN, SHORT, NEWEST, LONG}]
        loop.assigned([(t, 1) for t in (MAIN, SHORT, LONG)])
        script.goes(loop)

    # When the ladder has grown, and a job ends while all is given back
    script.steps = [assigned, script.brings(0, key=b"slow"), script.until(script.running.is_set)]
    script.steps += [another, script.until(lambda: "closed" in script.diary)]
    script.loop.run()

    # Then it was waited for and committed before that, and nothing was tried after it; what stands
    # still, once
    assert script.refusals == 1
    before = script.diary[: script.diary.index("closed")]
    assert (before[0], before[-1]) == ("renewed", ("cycle", 1, [], True, True))
    assert all(entry[4] for entry in script.diary if entry[0] == "cycle")


def test_while_no_broker_tells_what_the_topics_are_like_nothing_is_taken_and_nothing_ends(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given brokers that have a list of topics, and twice no answer to what they are like
    monkeypatch.setattr(questions, "LOOK_RETRY", 0.01)
    script = make(silent=2)

    # When a shard is to be taken, then it is once there is one, and the loop lives on
    script.steps = [assigned, script.brings(0), script.until(lambda: script.committed == 1)]
    script.loop.run()
    assert script.diary[:3] == ["silent", "silent", ("cycle", 1, [], False, True)]
    assert script.loop.error is None


def test_it_does_not_leave_to_join_again_before_the_coordinator_hears_of_it(
    make: Callable[..., Script],
) -> None:
    # Given a ladder that has grown, and a breaker that is open
    script = make(there=[{MAIN, SHORT, NEWEST, LONG}])
    script.coordinators = [False, False, True]
    script.leaves = lambda _: script.diary.append(len(script.coordinators))
    script.engine.breaker = breaker = BreakerState(Breaker())
    script.steps = [assigned, script.until(lambda: "closed" in script.diary)]

    # When the coordinator is away, then it is left once it has answered
    script.loop.run()
    assert script.diary[:3] == ["renewed", 0, "closed"]
    # And the breaker is what it was
    assert script.loop.engine.breaker is breaker


def test_who_is_stopped_before_it_could_leave_to_join_again_joins_no_more(
    make: Callable[..., Script],
) -> None:
    script = make(there=[{MAIN, SHORT, NEWEST, LONG}])
    script.coordinators = [False] * 10_000
    script.steps = [assigned, script.until(lambda: False)]
    threading.Timer(0.1, script.loop.stop).start()

    script.loop.run()

    assert script.diary.count("closed") + script.diary.count("abandoned") == 1
    assert script.loop.error is None


def test_who_owns_nothing_leaves_without_a_word_where_the_coordinator_is_away(
    make: Callable[..., Script], caplog: pytest.LogCaptureFixture
) -> None:
    script = make()
    script.coordinators = [False]
    script.loop.stop()

    script.loop.run()

    assert script.diary == ["abandoned", "ended"]
    assert "runs again" not in caplog.text


def test_who_sleeps_while_it_gives_a_shard_back_begins_nothing_of_the_others_unasked(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two shards, of which one is taken back while a job of it runs
    monkeypatch.setattr(lease, "LEASE", 0.1)
    monkeypatch.setattr(pace, "COMMIT_RETRY", 0.02)
    script = make(confirms=[False, False, True])
    other: list[Partition] = [(t, 1) for t in (MAIN, SHORT, LONG)]

    def brings(number: int, key: bytes) -> Step:
        return lambda _: Polled([FakeMessage(MAIN, 0, key, partition_=number)])

    def sleeps(_: float, __: int) -> None:
        monkeypatch.setattr(script.loop._executor, "wait", wait)
        threading.Event().wait(0.2)
        script.loop.engine.received([FakeMessage(MAIN, 0, b"b", partition_=1)], wall())
        threading.Timer(0.3, script.go.set).start()

    def takes_back(loop: QueueLoop) -> None:
        monkeypatch.setattr(loop._executor, "wait", sleeps)
        loop.revoked(SHARD)

    # When the process sleeps for longer than its lease meanwhile, and finds a job of the other
    wait = script.loop._executor.wait
    script.steps = [
        lambda loop: loop.assigned([*SHARD, *other]),
        brings(0, b"slow"),
        script.until(script.running.is_set),
        takes_back,
        script.until(lambda: (1, 0) in script.ran),
    ]
    script.loop.run()

    # Then that began after the broker had taken a commit
    said = [entry[1] for entry in script.diary if entry[0] == "confirm"]
    assert said[:3] == [False, False, True]
    assert (1, 0) in script.ran


def test_who_is_stopped_before_it_has_joined_again_ends_in_good_order(
    make: Callable[..., Script],
) -> None:
    script = make(there=[{MAIN, SHORT, NEWEST, LONG}], joins_again=False)
    script.steps = [assigned, script.until(lambda: False)]

    script.loop.run()

    assert script.diary == ["renewed", "closed", "ended"]
    assert script.loop.error is None
    assert script.loop.state is State.STOPPED


def test_the_consumer_is_sent_back_before_the_next_poll(make: Callable[..., Script]) -> None:
    script = make(budget=0.05)
    script.steps = [
        assigned,
        script.brings(0, key=b"slow"),
        script.until(script.running.is_set),
        lambda loop: loop.revoked([(LONG, 0)]),
        lambda loop: loop.assigned([(LONG, 0)]),
        script.until(lambda: len(script.claims) == 2),
        lambda _: script.diary.append("polled"),
    ]
    script.stands = {MAIN: Stand(0, "")}

    script.loop.run()

    seek = script.diary.index(("seek", (MAIN, 0), 0))
    assert seek < script.diary.index("polled")


def test_while_as_much_as_may_be_is_in_hand_it_hardly_fetches(make: Callable[..., Script]) -> None:
    script = make(capacity=2)
    polls: list[float] = []

    def full(_: QueueLoop) -> None:
        polls.append(monotonic())
        if len(polls) == 3:
            script.go.set()
        else:
            script.steps.append(full)

    script.steps = [assigned, script.brings(0, 1, key=b"slow"), full]

    script.loop.run()

    assert [b - a >= 0.2 for a, b in pairwise(polls)] == [True, True]


def test_moves_do_not_wait_for_the_next_plain_commit(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "COMMIT_INTERVAL", 1000.0)
    script = make()
    moved = lambda: any(entry[2] == [0] for entry in script.diary)  # noqa: E731
    script.steps = [assigned, script.brings(0, key=b"bad"), script.until(moved)]

    script.loop.run()

    assert ("cycle", 1, [0], False, True) in script.diary


def test_a_failed_cycle_is_tried_again_after_a_pause(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "COMMIT_RETRY", 0.2)
    script = make(succeeds=[False])
    times: list[float] = []
    script.steps = [
        assigned,
        script.brings(0, key=b"bad"),
        script.until(lambda: script.diary),
        lambda loop: times.append(loop.last_turn),
        script.until(lambda: script.committed == 1),
        lambda loop: times.append(loop.last_turn),
    ]

    script.loop.run()

    assert [entry[2:] for entry in script.diary[:2]] == [([0], False, False), ([0], False, True)]
    assert times[1] - times[0] >= 0.15


def test_while_no_coordinator_answers_it_tries_again_until_it_is_stopped(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a group that nobody can join for a while
    monkeypatch.setattr(parts_module, "JOIN_RETRY", 0.01)
    late, never = make(), make()
    join = late.loop._parts.join_group
    tries: list[int] = []

    def join_late(loop: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise BrokerUnavailable("its coordinator is away")
        return join(loop)

    def stopped(_: Any) -> Any:
        never.loop.stop()
        raise BrokerUnavailable("its coordinator is away")

    late.loop._parts = replace(late.loop._parts, join_group=join_late)
    never.loop._parts = replace(never.loop._parts, join_group=stopped)

    # When one loop waits for it, and another is stopped
    late.steps = [assigned, late.brings(0), late.until(lambda: late.committed == 1)]
    late.loop.run()
    never.loop.run()

    # Then the first has run its job, and both have ended in good order
    assert len(tries) == 3
    assert late.committed == 1
    assert caplog.text.count("not joined yet, tries again: its coordinator is away") == 3
    assert late.loop.error is never.loop.error is None
    assert late.loop.state is never.loop.state is State.STOPPED


def test_an_error_ends_the_loop_is_kept_and_leaves_the_group(make: Callable[..., Script]) -> None:
    error = RuntimeError("fatal")

    def fail(_: QueueLoop) -> None:
        raise error

    script = make()
    script.steps = [assigned, fail]

    script.loop.run()

    assert script.loop.error is error
    assert script.diary[-2:] == ["closed", "ended"]


def test_after_an_error_nothing_more_is_committed(make: Callable[..., Script]) -> None:
    # Given a cycle that ends in an error, with what it has taken
    script = make()
    error = RuntimeError("a defect")

    def fails(**_: Any) -> bool:
        script.diary.append(("taken", script.engine.cycle()))
        raise error

    def breaks(_: QueueLoop) -> None:
        script.run = fails  # type: ignore[method-assign]

    script.steps = [assigned, script.brings(0, key=b"bad"), breaks, script.until(lambda: False)]

    # When the loop leaves its group for that, and its partitions are taken back
    closed = script.close

    def close() -> None:
        script.run = Script.run.__get__(script)  # type: ignore[method-assign]
        revoked(script.loop)
        closed()

    script.close = close  # type: ignore[method-assign]
    script.loop.run()

    # Then what was taken and not written is not committed as if it had been
    assert script.loop.error is error
    assert [entry[0] for entry in script.diary if entry[0] in {"taken", "cycle"}][-1] == "taken"


def test_what_a_transaction_came_to_is_not_waited_for_beyond_the_budget(
    make: Callable[..., Script],
) -> None:
    # Given a loop that is stopped while its cycle finds out what it came to
    script = make(budget=0.05)

    def finds_out(**_: Any) -> bool:
        assert not script.overdue()
        script.loop.stop()
        while not script.overdue():
            threading.Event().wait(0.001)
        raise LeftOpen("not to be found out")

    def breaks(_: QueueLoop) -> None:
        script.run = finds_out  # type: ignore[method-assign]

    script.steps = [assigned, script.brings(0, key=b"bad"), breaks, script.until(lambda: False)]
    script.loop.run()

    # Then it ends with that, and does not wait for the group's coordinator to let it go
    assert isinstance(script.loop.error, LeftOpen)
    assert "abandoned" in script.diary
    assert "closed" not in script.diary


def test_stopped_before_it_began_it_joins_and_leaves(make: Callable[..., Script]) -> None:
    script = make()
    script.loop.stop()
    script.loop.stop()

    script.loop.run()

    assert script.diary == ["closed", "ended"]
    assert script.loop.error is None


class Doubting(ThreadExecutor):
    """Runs suspects too, and notes when it is told of some; they are cleared when it is told."""

    told = 0
    cleared = False
    prepared = True

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.wanted: list[bool] = []

    def prepare(self, *, wanted: bool) -> bool:
        self.wanted.append(wanted)
        return self.prepared

    @property
    def doubting(self) -> bool:
        return self.told > 0 and not self.cleared

    def doubt(self, times: int = 1) -> None:
        self.told, self.cleared, self.times = self.told + 1, False, times


def vanished(suspicion: Suspicion) -> Stand:
    """What an owner has left that did not give its partition back."""
    note = Note(0, "-", 0, whole=True, topic_id=None, epoch=None, suspicion=suspicion)
    return Stand(0, note.text("shop.mail.another", clean=False))


def doubting(script: Script) -> Doubting:
    executor = Doubting(lambda _: script.attempt, 2, "test")
    script.loop._executor = executor
    script.loop._suspects = Suspects(executor)
    return executor


def test_what_is_tried_alone_does_not_wait_for_the_next_plain_commit(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "COMMIT_INTERVAL", 60.0)
    script = make(stands={MAIN: vanished(Suspicion(doubt=True, rounds=3))})
    doubting(script)
    script.steps = [assigned, script.brings(0, 1), script.until(lambda: len(script.ran) == 2)]
    began = monotonic()

    script.loop.run()

    assert script.ran == [(0, 0), (0, 1)]
    assert monotonic() - began < 5


def test_none_is_tried_alone_before_it_could_begin_at_once(make: Callable[..., Script]) -> None:
    # Given a suspect, and no process that is ready for it
    script = make(stands={MAIN: vanished(Suspicion(doubt=True, rounds=3))})
    executor = doubting(script)
    executor.prepared = False

    def ready(loop: QueueLoop) -> None:
        assert (script.ran, loop.engine.alone.marks) == ([], False)
        executor.prepared = True

    # When there is one, then it is, and no more are wanted when all has run
    asked = script.until(lambda: executor.wanted[-3:] == [True] * 3)
    script.steps = [assigned, script.brings(0), asked, ready]
    script.steps += [script.until(lambda: script.committed == 1)]
    script.loop.run()
    assert script.ran == [(0, 0)]
    assert script.steps == []
    assert executor.wanted[-1:] == [False]


def test_while_suspects_are_tried_alone_none_is_cleared(make: Callable[..., Script]) -> None:
    script = make(stands={MAIN: vanished(Suspicion(doubt=True, rounds=3))})
    executor = doubting(script)

    def clear(_: QueueLoop) -> None:
        executor.cleared = True

    script.steps = [
        assigned,
        script.brings(0, 1, key=b"slow"),
        script.until(script.running.is_set),
        clear,
        script.goes,
        script.until(lambda: executor.told == 2),
    ]

    script.loop.run()

    assert executor.told == 2
    assert executor.doubting


def test_what_the_executor_clears_is_cleared(
    make: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "RAN", 1)
    script = make(stands={MAIN: vanished(Suspicion())})
    executor = doubting(script)
    doubts: list[bool] = []

    def clear(loop: QueueLoop) -> None:
        doubts.append(loop.engine.alone.doubts)
        executor.cleared = True

    script.steps = [
        assigned,
        script.brings(0),
        script.until(lambda: script.committed == 1),
        clear,
        script.until(lambda: not script.loop.engine.alone.doubts),
    ]

    script.loop.run()

    assert (doubts, script.loop.engine.alone.doubts, executor.told) == ([True], False, 1)


def test_a_process_is_had_ready_before_the_first_suspect_is_known(
    make: Callable[..., Script],
) -> None:
    # Given a shard whose owner has vanished, of which nothing was read yet, and no process
    script = make(stands={MAIN: vanished(Suspicion())})
    executor = doubting(script)
    executor.prepared = False

    def ready(_: QueueLoop) -> None:
        assert script.ran == []
        executor.prepared = True

    # Then one is wanted as soon as it is taken, until it is there, and none after that
    asked = script.until(lambda: executor.wanted[-3:] == [True] * 3)
    unasked = script.until(lambda: executor.wanted[-1:] == [False])
    script.steps = [assigned, asked, ready, unasked]
    script.loop.run()
    assert script.steps == []
    assert executor.wanted[0] is True
