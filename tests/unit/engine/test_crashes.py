"""A job that ends the process in which it runs: counted in a header, dead at the third time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.engine.drive import DLQ, FAILED, LONG, MAIN, SHORT, Driver, FakeMessage, origin, own

from streamjobs.engine.ladder import Ordering
from streamjobs.engine.records import Log, Move, Record
from streamjobs.engine.results import Crashed
from streamjobs.headers import MAX_COUNT, Delivery, Failure, Reason, read_delivery, write_move

ENDED = Failure("Crashed", "was ended by SIGKILL", "")
CRASHED = Crashed(-9, ENDED)


def headers(move: Move) -> tuple[tuple[str, bytes], ...]:
    """What the moved record arrives with."""
    return tuple(
        write_move(
            delivery=move.delivery,
            reason=move.reason,
            failure=move.failure,
            failed_at_ms=0,
            worker="w",
        )
    )


def moved(driver: Driver) -> Move:
    cycle = driver.commit()
    assert cycle is not None
    (move,) = cycle.moves
    return move


def test_a_crash_is_a_failed_attempt_with_a_count_of_its_own(driver: Driver) -> None:
    driver.main(0)

    driver.finish(0, CRASHED)

    move = moved(driver)
    assert (move.topic, move.reason, move.failure) == (SHORT, Reason.CRASHED, ENDED)
    assert (move.delivery.attempts, move.delivery.rung, move.delivery.crashes) == (1, 1, 1)
    assert dict(headers(move))["sj-crashes"] == b"1"


def test_the_third_crash_is_the_last_whatever_rungs_are_left(
    make_driver: Callable[..., Driver],
) -> None:
    # given a job in a tier with rungs to spare, and two crashes on the way
    driver = make_driver(writes=(1.0, 10.0))
    own(driver.engine, 0)
    driver.main(0)
    driver.finish(0, CRASHED)
    first = moved(driver)
    driver.receive(FakeMessage(SHORT, 0, headers_=headers(first)), now=50.0)
    driver.finish(0, CRASHED, topic=SHORT)
    second = moved(driver)
    assert (second.topic, second.delivery.crashes) == (LONG, 2)
    forged = dict(headers(second)) | {"sj-rung": b"0"}
    driver.receive(FakeMessage(LONG, 0, headers_=tuple(forged.items())), now=90.0)

    # when it crashes once more
    driver.finish(0, CRASHED, topic=LONG)

    # then it is dead
    dead = moved(driver)
    assert (dead.topic, dead.reason, dead.failure) == (DLQ, Reason.CRASHED, ENDED)
    assert (dead.delivery.attempts, dead.delivery.crashes) == (3, 3)


def test_crashes_that_a_failure_lies_between_count_as_well(driver: Driver) -> None:
    driver.engine.ended(MAIN, 0, 8, 0.0)
    stood = origin(7, **{"sj-crashes": "2", "sj-attempt": "3"})
    driver.receive(FakeMessage(SHORT, 0, headers_=stood), now=50.0)

    driver.finish(0, FAILED, topic=SHORT)

    move = moved(driver)
    assert (move.topic, move.reason, move.delivery.crashes) == (LONG, Reason.FAILED, 2)


def test_without_a_rung_left_the_first_crash_is_the_last(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver(writes=())
    own(driver.engine, 0)
    driver.main(0)

    driver.finish(0, CRASHED)

    move = moved(driver)
    assert (move.topic, move.reason) == (DLQ, Reason.CRASHED)


def test_a_crash_is_never_tried_again_at_once_since_its_count_would_be_lost(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver(immediate=5)
    own(driver.engine, 0)
    driver.main(0)

    driver.finish(0, CRASHED)

    assert moved(driver).topic == SHORT
    assert driver.started == [(MAIN, 0)]


def test_where_the_line_stands_still_it_counts_in_memory(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver(ordering=Ordering.PARTITION)
    own(driver.engine, 0)
    driver.main(0)
    for now in (20.0, 40.0):
        driver.finish(0, CRASHED)
        assert driver.running == []
        driver.tick(now)
        assert driver.running[0].suspect

    driver.finish(0, CRASHED)

    assert (moved(driver).topic, driver.engine.load) == (DLQ, 0)


def test_one_that_has_to_wait_for_others_keeps_its_count(driver: Driver) -> None:
    # given a job that crashed before, and an older one of its key that waits in a tier for long
    driver.engine.ended(MAIN, 0, 9, 0.0)
    driver.receive(FakeMessage(LONG, 0, at=40.0, headers_=origin(3)), now=41.0)
    crashed = origin(7, **{"sj-crashes": "2"})

    # when it comes due before that one
    driver.receive(FakeMessage(SHORT, 0, at=40.0, headers_=crashed), now=41.0)
    driver.tick(45.0)

    # then it moves on, and is still known for what it is
    move = moved(driver)
    assert (move.reason, move.delivery.crashes) == (Reason.WAITING, 2)


@pytest.mark.parametrize(("crashes", "suspect"), [(0, False), (1, True), (MAX_COUNT, True)])
def test_what_has_crashed_before_runs_in_a_child(crashes: int, *, suspect: bool) -> None:
    message: Any = None
    delivery = Delivery(1, 1, None, crashes=crashes)

    assert Record(Log("t", 0, 1.0, 1), 0, b"k", message, delivery).suspect is suspect
    assert Record(Log("t", 0, None, 0), 0, b"k", message).suspect is False


@pytest.mark.parametrize(
    ("value", "crashes"),
    [(b"2", 2), (b"-1", 0), (b"x", 0), (b"", 0), (None, 0), (b"9" * 19, MAX_COUNT), (b"9" * 50, 0)],
)
def test_a_forged_count_is_clamped_and_one_more_crash_of_it_is_the_end(
    driver: Driver, value: bytes | None, crashes: int
) -> None:
    stood = (*origin(7), ("sj-crashes", value))
    assert read_delivery(stood, rung=1).crashes == crashes
    driver.engine.ended(MAIN, 0, 8, 0.0)
    driver.receive(FakeMessage(SHORT, 0, headers_=stood), now=50.0)

    driver.finish(0, CRASHED, topic=SHORT)

    move = moved(driver)
    assert (move.topic == DLQ) is (crashes >= 2)
    assert move.delivery.crashes <= MAX_COUNT
