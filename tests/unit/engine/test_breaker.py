from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.engine.drive import FAILED, FAILURE, MAIN, Driver, own

from streamjobs.breaker import Breaker
from streamjobs.engine.breaker import BreakerState
from streamjobs.engine.results import DISCARDED, RELEASED, Rejected, Result
from streamjobs.headers import Reason


def test_it_opens_when_nearly_all_of_the_last_outcomes_failed() -> None:
    breaker = BreakerState(Breaker())
    breaker.count(150, 20, 1.0)
    assert not breaker.open
    breaker.count(30, 0, 2.0)

    assert breaker.open


def test_it_stays_closed_below_the_share_and_without_enough_outcomes() -> None:
    mixed, few = BreakerState(Breaker()), BreakerState(Breaker())
    for second in range(100):
        mixed.count(88, 12, float(second))
    few.count(199, 0, 1.0)

    assert not mixed.open
    assert not few.open


def test_old_outcomes_do_not_count() -> None:
    breaker = BreakerState(Breaker())
    breaker.count(199, 0, 1.0)
    breaker.count(1, 0, 62.0)

    assert not breaker.open


def test_while_open_one_job_is_tried_every_five_seconds_until_one_succeeds() -> None:
    breaker = BreakerState(Breaker())
    breaker.count(200, 0, 100.0)

    probes = [second for second in range(100, 121) if breaker.probe(float(second))]

    assert probes == [105, 110, 115, 120]
    breaker.count(0, 1, 121.0)
    assert not breaker.open


def test_a_clock_that_jumps_back_an_hour_does_not_keep_it_from_probing() -> None:
    breaker = BreakerState(Breaker())
    breaker.count(200, 0, 10_000.0)

    assert breaker.probe(6_400.0)


def test_a_tripped_queue_starts_nothing_but_probes(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(breaker=Breaker(outcomes=10), capacity=1_000)
    own(driver.engine, 0)
    for n in range(10):
        driver.main(n, key=None)
        driver.finish(n, FAILED)
    assert driver.engine.tripped

    driver.main(*range(10, 20), key=None)
    driver.tick(1.0)
    assert driver.running == []
    driver.tick(5.0)
    assert [r.offset for r in driver.running] == [10]
    driver.finish(10)

    assert len(driver.running) == 9
    assert driver.started[-1] == (MAIN, 19)


def tripped(driver: Driver) -> Driver:
    """A queue that has paused itself, with a key's line of three behind its one probe."""
    own(driver.engine, 0)
    for n in range(10):
        driver.main(n, key=None)
        driver.finish(n, FAILED)
    driver.main(10, 11, 12)
    driver.tick(5.0)
    return driver


def test_the_rest_of_a_probes_run_that_comes_back_closes_nothing(
    make_driver: Callable[..., Driver],
) -> None:
    driver = tripped(make_driver(breaker=Breaker(outcomes=10), capacity=1_000))

    # when a probe fails, and those handed over with it come back without having been begun
    driver.finish(10, FAILED)
    driver.tick(10.0)

    assert driver.engine.tripped


@pytest.mark.parametrize(
    ("result", "closes"),
    [
        (None, True),
        (DISCARDED, True),
        (RELEASED, False),
        (Rejected(FAILURE, Reason.REJECTED), False),
    ],
)
def test_it_closes_when_work_gets_done(
    make_driver: Callable[..., Driver], result: Result | None, closes: bool
) -> None:
    driver = tripped(make_driver(breaker=Breaker(outcomes=10), capacity=1_000))
    driver.finish(10, result)
    assert driver.engine.tripped is not closes


def test_what_handlers_reject_opens_nothing(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(breaker=Breaker(outcomes=10))
    own(driver.engine, 0)
    for n in range(20):
        driver.main(n, key=None)
        driver.finish(n, Rejected(FAILURE, Reason.REJECTED))
    assert not driver.engine.tripped
