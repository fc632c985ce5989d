"""A clock of a worker that is wrong, or is set: delays are off by as much, and that is all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.engine.drive import FAILED, LONG, MAIN, SHORT, Driver, FakeMessage, origin, own

HOUR = 3600.0
STAMP = 10_000.0


def parked(driver: Driver, now: float) -> None:
    """Two keys with a job each, stamped by the broker, in tiers of one and ten seconds."""
    driver.main(0, key=b"a")
    driver.main(1, key=b"b")
    driver.finish(0, FAILED)
    driver.finish(1, FAILED)
    driver.started.clear()
    driver.receive(FakeMessage(SHORT, 0, b"a", at=STAMP, headers_=origin(0)), now=now)
    driver.receive(FakeMessage(LONG, 0, b"b", at=STAMP, headers_=origin(1)), now=now)


@pytest.mark.parametrize("skew", [-288.0, 288.0])
def test_a_delay_is_off_by_no_more_than_the_clock(driver: Driver, skew: float) -> None:
    parked(driver, STAMP - HOUR)
    starts: dict[tuple[str, int], float] = {}

    # when the broker's time passes, as a wrong clock tells it
    for step in range(-3_000, 3_100):
        driver.tick(STAMP + step / 10 + skew)
        for place in driver.started:
            starts.setdefault(place, step / 10)

    assert starts == {(SHORT, 0): 1.0 - skew, (LONG, 0): 10.0 - skew}


def test_set_back_by_an_hour_nothing_starts_twice_and_others_go_on(driver: Driver) -> None:
    # given a record that has started, and one that is not due
    parked(driver, STAMP)
    driver.tick(STAMP + 1.5)
    assert driver.started == [(SHORT, 0)]

    # when the clock is set back
    driver.tick(STAMP - HOUR)
    driver.finish(0, topic=SHORT)
    driver.main(2, 3, key=b"a")
    driver.main(4, key=b"c")
    driver.finish_all()
    driver.tick(STAMP + 9.9 - HOUR)

    # then free keys run, and what waits does so until the clock has caught up
    assert driver.started == [(SHORT, 0), (MAIN, 2), (MAIN, 4), (MAIN, 3)]
    driver.tick(STAMP + 10.0)
    assert driver.started[4:] == [(LONG, 0)]


def test_set_forward_by_an_hour_a_crowd_runs_a_line_at_a_time(
    make_driver: Callable[..., Driver],
) -> None:
    # given a thousand records of ten keys that are not due
    driver = make_driver(capacity=2_000)
    own(driver.engine, 0)
    driver.engine.ended(MAIN, 0, 1_000, STAMP)
    crowd = [
        FakeMessage(LONG, n, b"%d" % (n % 10), at=STAMP, headers_=origin(n)) for n in range(1_000)
    ]
    driver.receive(*crowd, now=STAMP)
    assert driver.started == []

    # when the clock is set forward
    driver.tick(STAMP + HOUR)

    # then one of each key begins, and they run in their order
    assert [record.place for record in driver.running] == list(range(10))
    driver.finish_all()
    for key in range(10):
        assert [p for p in driver.places if p % 10 == key] == list(range(key, 1_000, 10))
