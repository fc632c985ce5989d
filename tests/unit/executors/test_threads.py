from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamjobs.clock import monotonic
from streamjobs.engine.records import Log, Record, Run
from streamjobs.engine.results import DISCARDED, RELEASED, Failed, Result, Succeeded
from streamjobs.executors.threads import ThreadExecutor
from streamjobs.headers import Failure

Make = Callable[..., ThreadExecutor]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ThreadExecutor] = []

    def build(attempt: Callable[[Record], None], concurrency: int = 2) -> ThreadExecutor:
        made.append(ThreadExecutor(lambda _: attempt, concurrency, "test"))
        return made[-1]

    yield build
    for executor in made:
        executor.stop()
        assert executor.join(5.0)


def run_of(*offsets: int, log: Log | None = None) -> Run:
    log = log or Log("t", 0, None, 0)
    message: Any = None
    return [Record(log, offset, b"k", message) for offset in offsets]


def collect(executor: ThreadExecutor, count: int) -> list[Record]:
    records: list[Record] = []
    for _ in range(1000):
        executor.wait(0.01)
        records += executor.collect()
        if len(records) >= count:
            return records
    raise AssertionError(f"{len(records)} of {count} records came back")


def test_a_run_is_executed_in_order(make: Make) -> None:
    seen: list[int] = []
    executor = make(lambda record: seen.append(record.offset))

    executor.submit([run_of(1, 2, 3)])

    assert [r.offset for r in collect(executor, 3)] == seen == [1, 2, 3]


def test_after_a_failure_the_rest_of_the_run_is_given_back(make: Make) -> None:
    def attempt(record: Record) -> None:
        record.result = Failed(Failure("E", "", "")) if record.offset == 2 else None

    executor = make(attempt)

    executor.submit([run_of(1, 2, 3, 4)])
    records = collect(executor, 4)

    assert [r.offset for r in records] == [1, 2, 3, 4]
    assert records[0].result is None
    assert isinstance(records[1].result, Failed)
    assert [r.result for r in records[2:]] == [RELEASED, RELEASED]


def test_what_a_run_came_to_is_not_asked_of_a_record_that_was_given_away(make: Make) -> None:
    # given a loop that takes a failed job back in line as soon as it is told of it
    failed = Failed(Failure("E", "", ""))
    told: list[Result | None] = []

    class InLineAtOnce(list[Any]):
        def append(self, record: Record) -> None:
            told.append(record.result)
            if record.result is failed:
                record.result = None
            super().append(record)

    def attempt(record: Record) -> None:
        record.result = failed if record.offset == 1 else None

    executor = make(attempt)
    executor._finished = InLineAtOnce()  # type: ignore[assignment]

    # when it fails, then what is behind it in its run does not begin
    executor.submit([run_of(1, 2)])
    for _ in range(1000):
        if len(told) == 2:
            break
        executor.wait(0.01)
    assert told == [failed, RELEASED]


def test_what_comes_up_after_the_lease_is_given_back(make: Make) -> None:
    executor = make(lambda _: None)
    executor.lease = monotonic() - 1.0

    executor.submit([run_of(1, 2)])

    assert [r.result for r in collect(executor, 2)] == [RELEASED, RELEASED]


def test_a_run_goes_on_after_what_needs_no_decision(make: Make) -> None:
    results: dict[int, Result | None] = {1: DISCARDED, 2: Succeeded(("child",)), 3: None}

    def attempt(record: Record) -> None:
        record.result = results[record.offset]

    executor = make(attempt)

    executor.submit([run_of(1, 2, 3)])

    assert [r.result for r in collect(executor, 3)] == list(results.values())


def test_slow_jobs_get_all_the_threads(make: Make) -> None:
    together = threading.Barrier(5)
    executor = make(lambda _: together.wait(10) and None, 4)
    executor.submit([run_of(n) for n in range(4)])

    waiter = threading.Thread(target=together.wait, args=(10,))
    waiter.start()
    records: list[Record] = []
    while waiter.is_alive():
        executor.nudge()
        waiter.join(0.01)
    records += collect(executor, 4)

    assert sorted(r.offset for r in records) == [0, 1, 2, 3]


def test_halting_gives_back_what_was_not_begun(make: Make) -> None:
    begun, go = threading.Event(), threading.Event()

    def attempt(_: Record) -> None:
        begun.set()
        go.wait(10)

    executor = make(attempt, 1)
    executor.submit([run_of(1, 2), run_of(3)])
    begun.wait(10)

    executor.halt()
    given_back = executor.collect()
    go.set()
    rest = collect(executor, 2)

    assert [(r.offset, r.result) for r in given_back] == [(3, RELEASED)]
    assert [(r.offset, r.result) for r in rest] == [(1, None), (2, RELEASED)]


def test_of_what_may_not_begin_only_what_runs_goes_on(make: Make) -> None:
    go, begun = threading.Event(), threading.Event()

    def attempt(record: Record) -> None:
        begun.set()
        go.wait(10)

    executor = make(attempt, 1)
    leaving, kept = Log("t", 0, None, 0), Log("t", 1, None, 0)
    run, other = run_of(1, 2, log=leaving), run_of(3, log=kept)
    executor.submit([run, other])
    assert begun.wait(10)

    leaving.begins = False

    assert executor.running() == [run[0]]
    go.set()
    collect(executor, 3)
    assert [r.result for r in (*run, *other)] == [None, RELEASED, None]
    for _ in range(1000):
        if not executor.running():
            break
        executor.wait(0.01)
    assert executor.running() == []


def test_records_of_a_dead_log_are_not_run(make: Make) -> None:
    seen: list[int] = []
    executor = make(lambda record: seen.append(record.offset))
    log = Log("t", 0, None, 0)
    log.live = log.begins = False

    executor.submit([run_of(1, log=log)])

    assert [r.result for r in collect(executor, 1)] == [RELEASED]
    assert seen == []


def test_a_submission_right_after_a_thread_went_idle_is_not_missed(make: Make) -> None:
    executor = make(lambda _: None, 1)

    for n in range(2000):
        executor.submit([run_of(n)])
        assert [r.offset for r in collect(executor, 1)] == [n]


def test_waiting_ends_only_when_enough_can_be_collected(make: Make) -> None:
    executor = make(lambda _: None, 2)
    executor.submit([run_of(*range(50))])

    executor.wait(10.0, 50)

    assert len(executor.collect()) == 50
