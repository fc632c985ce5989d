"""Two executors behind one surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streamjobs.engine.records import Log, Record, Run
from streamjobs.executors.split import GLANCE, UNCOMMITTED, SplitExecutor
from streamjobs.headers import Delivery


class Stub:
    """Gives back at once what it was given, and notes what it was asked."""

    def __init__(self) -> None:
        self.given: list[tuple[int, list[Run]]] = []
        self.asked: list[Any] = []
        self.done: list[Record] = []
        self.ends = True
        self.lease = self.seconds = 0.0
        self.ran = 0
        self.doubting = False

    def submit(self, runs: Sequence[Run], rank: int = 0) -> None:
        self.given.append((rank, list(runs)))
        self.done += [record for run in runs for record in run]

    def collect(self) -> list[Record]:
        self.asked.append("collect")
        done, self.done = self.done, []
        return done

    def wait(self, timeout: float, wanted: int = 1) -> None:
        self.asked.append((timeout, wanted))

    def nudge(self) -> None:
        self.asked.append("nudge")

    def give_back(self) -> None:
        self.asked.append("give_back")

    def halt(self) -> None:
        self.asked.append("halt")

    def running(self) -> list[Record]:
        self.asked.append("running")
        return [record for _, runs in self.given for run in runs for record in run]

    def doubt(self, times: int = 1) -> None:
        self.asked.append("doubt")

    def prepare(self, *, wanted: bool) -> bool:
        self.asked.append(("prepare", wanted))
        return self.ends

    def stop(self) -> None:
        self.asked.append("stop")

    def join(self, timeout: float) -> bool:
        return self.ends


def a_run(*kinds: str) -> Run:
    message: Any = None
    run = [Record(Log("t", 0, None, 0), n, b"k", message) for n in range(len(kinds))]
    for record, kind in zip(run, kinds, strict=True):
        record.suspect = kind in {"suspect", "crashed"}
        if kind == "crashed":
            record.delivery = Delivery(attempts=1, rung=1, origin=None, crashes=1)
    return run


@pytest.fixture
def stubs() -> tuple[Stub, Stub]:
    return Stub(), Stub()


def test_children_alone_are_prepared(stubs: tuple[Stub, Stub]) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes)

    assert split.prepare(wanted=True)
    processes.ends = False
    assert not split.prepare(wanted=False)

    assert processes.asked == [("prepare", True), ("prepare", False)]
    assert threads.asked == []


def test_a_run_with_a_suspect_in_it_goes_to_the_children_whole(stubs: tuple[Stub, Stub]) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes)
    split.doubt()
    free, first, later = (
        a_run("other", "other"),
        a_run("suspect", "other"),
        a_run("other", "suspect"),
    )

    split.submit([free, first, later], 2)

    assert threads.given == [(2, [free])]
    assert processes.given == [(2, [first, later])]
    assert split.collect() == [*free, *first, *later]


def test_without_suspects_the_children_are_not_even_asked(stubs: tuple[Stub, Stub]) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes)
    run = a_run("other")

    split.submit([run])
    split.nudge()
    split.wait(5.0, 7)

    assert split.collect() == run
    assert threads.asked == ["nudge", (5.0, 7), "collect"]
    assert (processes.given, processes.asked) == ([], [])


def test_while_children_run_something_nobody_waits_long_for_threads(
    stubs: tuple[Stub, Stub],
) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes)
    split.submit([a_run("crashed")])

    split.wait(5.0, 7)
    split.collect()
    split.wait(5.0, 7)

    assert threads.given == []
    assert threads.asked == [(GLANCE, 7), "collect", (5.0, 7)]


def test_once_enough_of_the_suspects_has_run_the_rest_is_cleared(
    stubs: tuple[Stub, Stub],
) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes, 4)
    split.doubt()
    assert processes.asked == ["give_back"]
    processes.asked.clear()
    split.submit([a_run("suspect")])

    # as many as ran at a time, but no longer than a blink: more can have been begun
    processes.ran = 4
    split.collect()
    assert "give_back" not in processes.asked

    processes.seconds = 4 * UNCOMMITTED
    split.submit([a_run("suspect")])
    split.collect()
    assert "give_back" in processes.asked
    later, crashed = a_run("suspect"), a_run("crashed")
    split.submit([later, crashed])
    assert threads.given == [(0, [later])]
    assert not later[0].suspect
    assert processes.given[-1] == (0, [crashed])

    # another owner vanishes: its jobs are suspect anew, and more of them, for it is the second
    split.doubt(4)
    split.submit([another := a_run("suspect")])
    assert processes.given[-1] == (0, [another])
    processes.ran, processes.seconds = 4 + 15, 5 * 4 * UNCOMMITTED
    split.collect()
    assert split.doubting
    processes.ran += 1
    split.submit([a_run("suspect")])
    split.collect()
    assert not split.doubting


def test_both_halt_and_stop(stubs: tuple[Stub, Stub]) -> None:
    threads, processes = stubs
    split = SplitExecutor(threads, processes)

    split.halt()
    split.give_back()
    split.lease = 7.0
    split.stop()

    assert threads.asked == processes.asked == ["halt", "give_back", "stop"]
    split.submit([fine := a_run("other"), crashed := a_run("crashed")])
    assert split.running() == [*fine, *crashed]
    assert split.lease == threads.lease == processes.lease == 7.0
    assert split.join(1.0)
    threads.ends = False
    assert not split.join(1.0)
