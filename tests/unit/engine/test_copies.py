"""Two records of one job, after a crash undid what had been committed of one: the newer counts."""

from __future__ import annotations

from collections.abc import Callable

from unit.engine.drive import FAILED, LONG, MAIN, SHORT, Driver, FakeMessage, origin, take

from streamjobs.engine.intake import HELD_PER_TIER

Make = Callable[..., Driver]


def take_over(driver: Driver, *, committed: dict[str, int | None], ends: dict[str, int]) -> None:
    driver.engine.assigned([(t, 0) for t in (MAIN, SHORT, LONG)])
    take(driver.engine, committed=committed, ends=ends)


def test_main_copy_of_a_job_that_is_due_and_waits_for_main_is_complete(make_driver: Make) -> None:
    # Given A, which failed once, is due, and waits until main was received past it
    driver = make_driver()
    take_over(driver, committed={MAIN: 0}, ends={SHORT: 1})
    driver.receive(FakeMessage(SHORT, 0, headers_=origin(0)), now=100.0)
    driver.tick(100.0)

    # When its record in main is read again, and A fails again
    driver.main(0, 1)
    assert driver.started == [(SHORT, 0)]
    driver.finish(0, FAILED, topic=SHORT)

    # Then it waits for its second retry, and main is committed past it as soon as B is moved
    assert driver.started == [(SHORT, 0)]
    cycle = driver.engine.cycle()
    assert cycle is not None
    moves = [(m.topic, m.record.place, m.delivery.attempts) for m in cycle.moves]
    assert moves == [(LONG, 0, 2), (LONG, 1, 0)]
    assert cycle.offsets[MAIN, 0] == 2


def test_an_older_copy_that_comes_while_the_newer_runs_is_complete(make_driver: Make) -> None:
    # Given A, which failed once and runs again, while B waits out its delay
    driver = make_driver()
    take_over(driver, committed={MAIN: 2}, ends={SHORT: 2})
    a, b = (FakeMessage(SHORT, n, at=99.0 + n, headers_=origin(n)) for n in range(2))
    driver.receive(a, b, now=100.0)
    driver.engine.ended(MAIN, 0, 2, 100.0)
    driver.tick(100.0)
    assert driver.places == [0]

    # When a copy of A comes that has not failed, and A fails
    older = origin(0, **{"sj-attempt": "0", "sj-reason": "waiting"})
    driver.receive(FakeMessage(LONG, 0, at=90.0, headers_=older), now=100.0)
    driver.finish_place(0, FAILED)

    # Then A goes on from its first attempt, once
    cycle = driver.engine.cycle()
    assert cycle is not None
    assert [m.delivery.attempts for m in cycle.moves if m.record.place == 0] == [2]
    assert cycle.offsets[LONG, 0] == 1
    assert driver.places == [0]


def test_a_copy_that_is_only_noted_does_not_take_the_place_of_one_in_memory(
    make_driver: Make,
) -> None:
    # Given A in memory, due at 101, and a long tier whose last record is an older copy of it
    driver = make_driver()
    count = HELD_PER_TIER + 1
    take_over(driver, committed={MAIN: 9_000}, ends={SHORT: 1, LONG: count})
    driver.receive(FakeMessage(SHORT, 0, b"a", at=100.0, headers_=origin(0)), now=100.0)
    older = origin(0, **{"sj-attempt": "0", "sj-reason": "waiting"})
    others = [
        FakeMessage(LONG, n, b"%d" % n, at=95.0, headers_=origin(n + 1)) for n in range(count - 1)
    ]
    driver.receive(*others, FakeMessage(LONG, count - 1, b"a", at=95.0, headers_=older), now=100.0)
    driver.engine.ended(MAIN, 0, 9_000, 100.0)

    # When that is read again before A is due
    assert driver.engine.take_flow().seek == [(LONG, 0, count - 1)]
    driver.receive(FakeMessage(LONG, count - 1, b"a", at=95.0, headers_=older), now=100.5)
    driver.tick(101.0)

    # Then A runs when it is due, from the newer record
    assert driver.started[0] == (SHORT, 0)
    assert driver.engine.held == HELD_PER_TIER


def test_an_older_copy_that_is_dropped_leaves_no_place_to_wait_for(driver: Driver) -> None:
    # given two copies of a job, of which the older ran first and failed, and the newer runs
    driver.engine.ended(MAIN, 0, 5, 0.0)
    driver.receive(FakeMessage(SHORT, 0, headers_=origin(0)))
    driver.tick(1.0)
    newer = origin(0, **{"sj-attempt": "3"})
    driver.receive(FakeMessage(LONG, 0, at=-20.0, headers_=newer), now=1.0)
    driver.finish(0, FAILED, topic=SHORT)
    assert driver.started == [(SHORT, 0), (LONG, 0)]

    # when what the older became is read, and dropped, and the newer succeeds
    moved = origin(0, **{"sj-attempt": "2"})
    driver.receive(FakeMessage(SHORT, 1, at=1.0, headers_=moved), now=1.0)
    driver.finish(0, topic=LONG)

    # then the next of the key need not wait for it
    driver.main(5)
    assert driver.started[-1] == (MAIN, 5)
