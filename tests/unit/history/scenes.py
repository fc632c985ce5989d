"""A history in which nothing is wrong, to be spoilt one rule at a time. Times are in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from history.events import Event, Kind, Outcome
from history.judge import judge
from history.model import SECOND, Fault, History, Hit, Process, Sample, Stored

STRANGER = "00000000-0000-4000-8000-00000000beef"
A, B, C = (str(UUID(int=n)) for n in (1, 2, 3))
MAIN, TIER, DLQ = "app.work", "app.work.retry.1s", "app.work.dlq"


def ns(seconds: float) -> int:
    return round(seconds * SECOND)


class Scene:
    """A history that grows line by line; workers 1 and 2 run from the beginning to second 100."""

    def __init__(self) -> None:
        self.history = History()
        self._serial = 0
        for worker in (1, 2):
            process = Process(worker, 100 + worker, 0, asked=ns(99), ended=ns(100), code=0)
            self.history.processes[worker] = process

    def job(self, job: str, offset: int, at: float, key: str | None = "k", **more: Any) -> Stored:
        """A job that was enqueued and acknowledged."""
        place = (Kind.ENQUEUED, Outcome.NONE, 0, 1, 0, 0, ns(at), job, key or "", 0, offset)
        self.history.events.append(Event(*place))
        raw = None if key is None else key.encode()
        value = f"value of {job}".encode()
        stored = Stored("main", MAIN, 0, offset, ns(at), raw, value, job, (0, offset), **more)
        self.history.stored.append(stored)
        return stored

    def poison(self, offset: int, at: float) -> Stored:
        stored = Stored("main", MAIN, 0, offset, ns(at), b"k", b"?", None, (0, offset))
        self.history.stored.append(stored)
        return stored

    def attempt(
        self,
        job: str,
        start: float,
        end: float | None,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        number: int = 1,
        worker: int = 1,
        key: str = "k",
    ) -> None:
        """An attempt; without an end its process died in it."""
        self._serial += 1
        head, tail = (number, 100 + worker, worker, self._serial), (job, key, -1, -1)
        self.history.events.append(Event(Kind.STARTED, Outcome.NONE, *head, ns(start), *tail))
        if end is not None:
            self.history.events.append(Event(Kind.ENDED, outcome, *head, ns(end), *tail))

    def moved(
        self, source: Stored, topic: str, offset: int, at: float, attempts: int, **more: Any
    ) -> Stored:
        """A record that was moved on."""
        copy = replace(
            source, kind="dlq" if topic == DLQ else "tier", topic=topic, offset=offset, at=ns(at),
            attempts=attempts, **more,
        )  # fmt: skip
        self.history.stored.append(copy)
        return copy

    def committed(
        self, at: float, offset: int, topic: str = MAIN, above: tuple[int, ...] = ()
    ) -> None:
        """What was committed at a time, and which offsets above it were complete."""
        place = (topic, 0)
        self.history.samples.append(Sample(ns(at), {place: offset}, {place: above}, ns(at)))
        self.history.samples.sort(key=lambda sample: sample.at)

    def cycle(self, at: float, worker: int = 1, done: str = "cycle.plain-done") -> None:
        """A commit cycle that was answered at once."""
        pid = self.history.processes[worker].pid
        self.history.hits += [Hit("cycle.taken", pid, ns(at)), Hit(done, pid, ns(at) + 1)]

    def hit(self, name: str, at: float, worker: int = 1) -> None:
        self.history.hits.append(Hit(name, self.history.processes[worker].pid, ns(at)))

    def kill(self, at: float, worker: int = 1) -> None:
        process = self.history.processes[worker]
        process.killed = process.ended = ns(at)
        process.asked, process.code = None, -9
        self.fault(at)

    def halt(self, begin: float, end: float, worker: int = 1) -> None:
        self.history.processes[worker].halts.append((ns(begin), ns(end)))
        self.fault(begin)

    def fault(self, at: float) -> None:
        self.history.faults.append(Fault(ns(at), ns(at), "something"))


def sound() -> Scene:
    """A fails once and succeeds; B of its key waits for it; C of another key dies."""
    scene = Scene()
    a, b = scene.job(A, 0, 1), scene.job(B, 1, 1.1)
    c, poison = scene.job(C, 2, 1.2, key="other"), scene.poison(3, 1.3)
    scene.attempt(A, 2, 2.1, Outcome.FAILED)
    scene.attempt(C, 2, 2.2, Outcome.DEAD, key="other")
    scene.moved(a, TIER, 0, 2.3, 1)
    scene.moved(b, TIER, 1, 2.3, 0, waiting=True)
    scene.moved(c, DLQ, 0, 2.3, 1)
    scene.moved(poison, DLQ, 1, 2.3, 1)
    scene.cycle(2.3)
    scene.committed(2.4, 4)
    scene.attempt(A, 3.4, 3.5, number=2)
    scene.attempt(B, 3.6, 3.7)
    scene.cycle(3.8)
    scene.cycle(3.9)
    scene.history.samples.append(Sample(ns(50), {(MAIN, 0): 4, (TIER, 0): 2}))
    scene.history.ends.update({(MAIN, 0): 4, (TIER, 0): 2})
    return scene


def rules(history: History, **needed: int) -> set[str]:
    return {violation.rule for violation in judge(history, needed)}


def stored(scene: Scene, topic: str, offset: int) -> Stored:
    return next(s for s in scene.history.stored if s.topic == topic and s.offset == offset)


def fresh(history: History) -> History:
    """The same without what was computed before it changed."""
    return replace(history)


def waits_again(scene: Scene, at: float) -> None:
    """B, which waits in a tier, is moved there once more by worker 1, and that is committed."""
    scene.moved(stored(scene, MAIN, 1), TIER, 5, at, 0, waiting=True, by=101)
    scene.hit("txn.produced", at + 0.03)
    scene.hit("txn.committed", at + 0.04)


def waiting_again_after_it_ran(scene: Scene) -> None:
    scene.committed(3.85, 2, TIER)
    waits_again(scene, 4)


def waiting_twice_at_a_time(scene: Scene) -> None:
    waits_again(scene, 2.5)
    scene.hit("txn.produced", 2.8)  # the next one's: all of this one is marked
    scene.committed(2.9, 0, TIER)


def a_slow_take_over(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1)
    scene.attempt(STRANGER, 5, None)
    scene.kill(5.5)
    scene.attempt(STRANGER, 5.5 + 8.1, 14, worker=2)
