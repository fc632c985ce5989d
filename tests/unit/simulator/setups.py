"""What a seed stands for: sizes, habits and faults of one history, all drawn from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from unit.simulator.parts import Parts

from streamjobs.breaker import Breaker
from streamjobs.topics import QueueTopics

TOPICS = QueueTopics("shop", "mail")
STEPS = (
    "plain", "plain done", "wire", "begin", "between", "written", "offsets", "commit", "committed",
    "abort", "poll", "assigned", "question", "drained",
)  # fmt: skip
# Fault, and how often it is drawn against the others.
FAULTS = {
    "kill": 3, "kill at": 5, "stop": 3, "stop at": 5, "cut": 3, "deploy": 3, "join": 2, "leave": 2,
    "flap": 3, "jump": 3, "fence": 1, "refuse": 1,
}  # fmt: skip
# Of so many histories one has suspects.
SUSPECTING = 12
LADDERS = ((1.0, 5.0, 20.0), (1.0, 3.0), (0.5, 2.0, 8.0), (2.0, 4.0, 60.0), (1.0,), ())


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at a time; ``which`` picks the worker among those alive."""

    at: float
    kind: str
    which: float
    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Setup:
    """One history.

    Attributes:
        classic: the group protocol; else partition by partition.
        priorities: how many main topics.
        reads: delays of the tiers that exist; ``writes``: those that the policy uses.
        batches: (time, topic index, key index or None) of what is enqueued.
        failing: by key index, how often an attempt fails; the last for jobs without a key.
        outage: from when to when everything fails; ``breaker``: whether the queue pauses then.
        chunk, depth, batch: of the consumer's fetches, its queue, a poll.
        nap, idle: seconds between turns of a loop.
        drains: whether a revoke waits for running jobs, up to ``drain_budget`` seconds.
        marker_delay: seconds that a transaction's marker takes at most.
        ends_by_id: whether owners end a dead owner's transaction, or wait for its expiry.
        strips_text: whether what stands beside committed offsets is lost.
        suspects: whether owners tell whose text it is, and suspect what vanished ones ran.
        killers: by the order in which they are enqueued, jobs that end their worker each time.
        limits: of the engine, where a small one shows more.
    """

    seed: int
    classic: bool
    shards: int
    priorities: int
    workers: int
    reads: tuple[float, ...]
    writes: tuple[float, ...]
    immediate: int
    ordering: str
    batches: list[tuple[float, int, int | None]]
    failing: list[float]
    outage: tuple[float, float]
    breaker: bool
    long_jobs: float
    mean: float
    threads: int
    capacity: int
    chunk: int
    depth: int
    batch: int
    nap: float
    idle: float
    drains: bool
    drain_budget: float
    marker_delay: float
    ends_by_id: bool
    slow_network: bool
    small: bool
    strips_text: bool
    faults: list[Fault] = field(default_factory=list)
    suspects: bool = False
    killers: frozenset[int] = frozenset()

    def __str__(self) -> str:
        names = [n for n in self.__slots__ if n not in ("batches", "failing", "faults")]
        lines = [", ".join(f"{n}={getattr(self, n)!r}" for n in names)]
        lines += [
            f"  fault at {f.at:7.3f}: {f.kind} {f.step} {f.seconds:.3f} s, {f.which:.2f}"
            for f in self.faults
        ]
        return "\n".join(lines)


def draw(seed: int) -> Setup:
    """Draw a history from its seed."""
    setup = _draw(seed)
    if seed % SUSPECTING != SUSPECTING // 4:
        return setup
    # Apart from the rest, which stays what it is. A count of attempts that nobody saw the judge
    # cannot know of, and where the texts are lost so are the crashes.
    rng = Random(seed)
    few = rng.choice((0, 1, 1, 2))
    killers = frozenset(rng.sample(range(len(setup.batches)), few))
    return replace(setup, suspects=True, killers=killers, immediate=0, strips_text=False)


def _draw(seed: int) -> Setup:
    rng = Random(seed)
    pick, rand = rng.choice, rng.random
    reads = LADDERS[min(int(rand() * 9) % 7, 5)] if rand() < 0.4 else pick(LADDERS[:4])
    priorities = pick((1, 1, 2, 3))
    keys = rng.randint(2, 14) if rand() < 0.8 else rng.randint(30, 90)
    jobs = rng.randint(220, 440)
    until = pick((5.0, 15.0, 30.0))
    return Setup(
        seed=seed,
        classic=rand() < 0.5,
        shards=pick((1, 2, 2, 3, 4)),
        priorities=priorities,
        workers=pick((2, 3, 3, 3, 4)),
        reads=reads,
        writes=reads if rand() < 0.8 else tuple(d for d in reads if rand() < 0.7),
        immediate=pick((0, 0, 0, 1, 2)),
        ordering=pick(("key",) * 8 + ("none", "partition")),
        batches=_batches(rng, jobs, keys, priorities, until),
        # The first key may be hot: one failure of it already makes many wait.
        failing=[pick((0.0, 0.02, 0.1)), *(pick((0.0, 0.05, 0.2, 0.5)) for _ in range(keys))],
        outage=_outage(rng, until),
        breaker=rand() < 0.5,
        long_jobs=pick((0.0, 0.0, 0.005, 0.02)),
        mean=pick((0.005, 0.02, 0.1)),
        threads=pick((1, 2, 4, 16)),
        capacity=pick((4, 20, 60, 2000, 2000)),
        chunk=pick((5, 20, 80)),
        depth=pick((1, 10, 50)),
        batch=pick((10, 50, 999)),
        nap=pick((0.2, 0.5, 1.0)),
        idle=pick((0.5, 2.0, 4.0)),
        drains=rand() < 0.7,
        drain_budget=pick((0.0, 0.1, 1.0, 5.0)),
        marker_delay=pick((0.0, 0.2, 2.0)),
        ends_by_id=rand() < 0.6,
        slow_network=rand() < 0.5,
        small=rand() < 0.5,
        strips_text=rand() < 0.08,
        faults=_faults(rng, until),
    )


def _batches(
    rng: Random, jobs: int, keys: int, priorities: int, until: float
) -> list[tuple[float, int, int | None]]:
    """When what is enqueued: some keys are hot, some jobs have none, much comes in bursts."""
    hot = rng.choice((0.0, 0.2, 0.5))
    keyless = rng.choice((0.0, 0.1, 0.3))
    found: list[tuple[float, int, int | None]] = []
    while len(found) < jobs:
        at = 0.0 if rng.random() < 0.1 else rng.random() * until
        for _ in range(rng.randint(1, 30)):
            draw = rng.random()
            key = None if draw < keyless else 0 if draw < keyless + hot else rng.randrange(keys)
            found.append((at, rng.randrange(priorities), key))
    found.sort(key=lambda each: each[0])
    return found


def _outage(rng: Random, until: float) -> tuple[float, float]:
    """From when to when everything fails, in one history of four."""
    if rng.random() < 0.75:
        return 0.0, 0.0
    begin = rng.random() * until * 0.7
    return begin, begin + 2.0 + rng.random() * until


def _faults(rng: Random, until: float) -> list[Fault]:
    kinds = rng.choices(list(FAULTS), list(FAULTS.values()), k=rng.choice((3, 4, 5, 5, 6, 7)))
    faults = []
    for kind in kinds:
        seconds = rng.choice((0.3, 2.0, 7.0, 12.0, 25.0)) * (0.5 + rng.random())
        if kind == "jump":
            seconds = rng.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0)) * rng.random()
        at = 0.5 + rng.random() * until * 1.5
        faults.append(Fault(at, kind, rng.random(), rng.choice(STEPS), seconds))
    return sorted(faults, key=lambda fault: fault.at)


def mains_of(priorities: int) -> list[str]:
    """The main topics; with one priority it has no name."""
    if priorities == 1:
        return [TOPICS.main]
    return [f"{TOPICS.main}.{name}" for name in ("high", "normal", "low")[:priorities]]


def make_engine(parts: Parts, setup: Setup) -> Any:
    """An engine for a worker of this history; the one place that knows how one is made."""
    mains = tuple(mains_of(setup.priorities))
    reads = {TOPICS.tier(delay): delay for delay in setup.reads}
    ladder = parts.ladder.Ladder(
        TOPICS,
        mains,
        reads,
        setup.writes,
        {main: f"id-{main}" for main in mains},
        setup.immediate,
        parts.ladder.Ordering(setup.ordering),
    )
    breaker = Breaker(share=0.8, outcomes=8, probe_every=2) if setup.breaker else None
    return parts.engine.Engine(ladder, capacity=setup.capacity, breaker=breaker)
