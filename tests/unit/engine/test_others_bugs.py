"""Bugs that users of other engines of this kind have met, where no other test would catch them.

The list, with the trackers they are from, is docs/others-bugs.md.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.engine.drive import (
    DLQ,
    FAILED,
    FAILURE,
    LONG,
    MAIN,
    SHORT,
    TOPICS,
    Driver,
    FakeMessage,
    origin,
    own,
    take,
)

from streamjobs.engine.engine import Engine
from streamjobs.engine.intake import HELD_PER_TIER
from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.results import Failed, Rejected
from streamjobs.headers import Reason

SHARD = [(topic, 0) for topic in (MAIN, SHORT, LONG)]


@pytest.mark.parametrize("gone", [SHARD, SHARD[-1:]])
def test_what_was_in_hand_when_partitions_went_away_is_counted_no_more(
    driver: Driver, gone: list[tuple[str, int]]
) -> None:
    # Given rounds in which jobs run, wait behind others, and wait in a tier, as partitions go
    for _ in range(3):
        driver.main(0, 1, 2)
        driver.main(3, 4, key=b"parked")
        driver.finish(3, FAILED)
        driver.receive(FakeMessage(SHORT, 0, b"held", headers_=origin(0)))
        running = list(driver.running)
        assert all((driver.engine.load, driver.engine.held, driver.engine.waiting))

        # When they come back, and what ran before ends after that
        driver.engine.revoked(gone)
        driver.engine.assigned(gone)
        take(driver.engine)
        driver.engine.take_flow()
        driver.tick(0.0)
        driver.engine.finished(running, 0.0)
        driver.running.clear()
        driver.runs.clear()

        # Then nothing of it is in hand, nor less than nothing
        assert (driver.engine.load, driver.engine.held, driver.engine.waiting) == (0, 0, 0)
        assert driver.engine.parked_keys == 0


def test_what_is_given_back_is_committed_up_to_what_has_not_ended(driver: Driver) -> None:
    for offset in range(6):
        driver.main(offset, key=b"%d" % offset)
    driver.engine.ended(MAIN, 0, 6, 0.0)
    for offset in (0, 1, 3, 4, 5):
        driver.finish(offset)

    driver.engine.withhold([0])
    cycle = driver.engine.cycle(everything=True)

    assert cycle is not None
    assert cycle.offsets[MAIN, 0] == 2


def test_a_dead_letter_completes_itself_and_nobody_else(driver: Driver) -> None:
    driver.main(0, key=b"a")
    driver.main(1, key=b"b")
    driver.main(2, key=b"c")

    driver.finish(1, Rejected(FAILURE, Reason.REJECTED))
    driver.finish(2)
    cycle = driver.engine.cycle()

    assert cycle is not None
    assert [move.topic for move in cycle.moves] == [DLQ]
    assert cycle.offsets[MAIN, 0] == 0


def test_a_job_that_fails_a_thousand_times_leaves_nothing_behind(driver: Driver) -> None:
    # Given a job that comes from a tier again and again, each time with another due time
    driver.main(0)
    driver.finish(0, FAILED)
    engine = driver.engine
    for tries in range(1_000):
        assert engine.cycle() is not None
        record = FakeMessage(SHORT, tries, at=2.0 * tries, headers_=origin(0))
        driver.receive(record, now=2.0 * tries)
        assert engine.held == 1
        driver.tick(2.0 * tries + 1)
        driver.finish(tries, FAILED, SHORT)

    # When it succeeds at last
    driver.receive(FakeMessage(SHORT, 1_000, at=2_000, headers_=origin(0)), now=2_000)
    driver.tick(2_001)
    driver.finish(1_000, None, SHORT)

    # Then no lane, no place and no record of it is in memory
    assert (engine.load, engine.held, engine.waiting, engine.parked_keys) == (0, 0, 0, 0)
    shard = engine._shards[0]
    assert not shard.lanes[MAIN]
    assert not any(log.held for log in shard.logs.values())


def test_what_waits_behind_a_running_job_of_its_key_counts_as_in_hand(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver(capacity=4)
    own(driver.engine, 0)

    driver.main(0, 1, 2, 3)

    assert len(driver.running) == 1
    assert driver.engine.full


def test_keys_are_the_same_when_their_bytes_are(driver: Driver) -> None:
    one, other = (bytes(bytearray(b"a key of its own")) for _ in range(2))
    assert one is not other

    driver.main(0, key=one)
    driver.main(1, key=other)

    assert driver.started == [(MAIN, 0)]


def test_the_same_key_in_another_topic_is_another_lane() -> None:
    # Given two main topics, whose offsets and keys are the same
    mains = (f"{MAIN}.high", f"{MAIN}.low")
    engine = Engine(Ladder(TOPICS, mains, {SHORT: 1.0}, (1.0,), {}))
    driver = Driver(engine)
    engine.assigned([(topic, 0) for topic in (*mains, SHORT)])
    take(engine, ends={SHORT: 0})

    # When one of both has a job that runs, and one that waits behind it
    for main in mains:
        driver.receive(FakeMessage(main, 0), FakeMessage(main, 1))

    # Then the end of the one frees its own lane alone
    assert driver.started == [(mains[0], 0), (mains[1], 0)]
    driver.finish(0, None, mains[1])
    assert driver.started[2:] == [(mains[1], 1)]
    assert engine.cycle().offsets == {(mains[0], 0): 0, (mains[1], 0): 1}  # type: ignore[union-attr]


def test_what_ran_before_it_was_due_is_not_kept_until_then(driver: Driver) -> None:
    # Given thousands in a tier that only wait for the head of their line, due ten seconds later
    total = 3 * HELD_PER_TIER
    driver.engine.ended(MAIN, 0, total, 100.0)
    waiting = origin(0, **{"sj-reason": "waiting"})[1:]
    records = [
        FakeMessage(LONG, n, at=100.0, headers_=[*origin(n)[:1], *waiting]) for n in range(total)
    ]

    # When all of them run as they are read, since it is their turn
    for begin in range(0, total, 200):
        driver.receive(*records[begin : begin + 200], now=100.0)
        driver.finish_all()
    assert driver.places == list(range(total))

    # Then they are in memory no longer, though they come due much later
    assert (driver.engine.load, driver.engine.held, driver.engine.waiting) == (0, 0, 0)
    assert len(driver.engine._shards[0].logs[LONG].held) < HELD_PER_TIER


@pytest.mark.parametrize("gone", [SHARD, SHARD[-1:]])
def test_what_comes_again_after_a_rebalance_runs_whatever_was_known_of_it(
    driver: Driver, gone: list[tuple[str, int]]
) -> None:
    # Given a job that runs, one behind it, one that only waits in a tier, and one behind that
    retried = FakeMessage(SHORT, 0, b"parked", at=9.0, headers_=origin(2))
    driver.main(0, 1)
    driver.receive(retried, now=9.0)
    driver.main(2, 3, key=b"parked")

    # When their partitions go and come, and all of it is read again
    driver.engine.revoked(gone)
    driver.engine.assigned(gone)
    take(driver.engine, committed={MAIN: 0, SHORT: 0}, ends={SHORT: 1})
    driver.engine.take_flow()
    driver.running.clear()
    driver.runs.clear()
    driver.started.clear()
    driver.receive(retried, now=9.0)
    driver.main(0, 1)
    driver.main(2, 3, key=b"parked")

    # Then all of it runs, each job once: of the one in the tier the record in main is the older
    driver.tick(10.0)
    while driver.running:
        assert driver.running[0].log.live
        driver.finish_place(driver.running[0].place)
    assert sorted(driver.started) == [(MAIN, 0), (MAIN, 1), (MAIN, 3), (SHORT, 0)]
    cycle = driver.engine.cycle()
    assert cycle is not None
    assert (cycle.offsets[MAIN, 0], cycle.offsets[SHORT, 0]) == (4, 1)


def test_jobs_that_wait_for_a_retry_leave_room_for_others(
    make_driver: Callable[..., Driver],
) -> None:
    # Given ten times as many jobs in a tier as may be in hand
    driver = make_driver(capacity=4)
    own(driver.engine, 0)
    for n in range(40):
        driver.main(n, key=b"%d" % n)
        driver.finish(n, Failed(FAILURE, retry_after=5.0))
    driver.receive(*(FakeMessage(LONG, n, b"%d" % n, headers_=origin(n)) for n in range(40)))
    assert driver.engine.held == driver.engine.parked_keys == 40

    # When time passes in which main would be paused if memory were full
    for seconds in range(9):
        driver.tick(float(seconds))
        assert not driver.engine.full

    # Then more is fetched, and runs
    assert not driver.paused(MAIN)
    driver.main(40, key=b"free")
    assert driver.started[-1] == (MAIN, 40)


def test_a_retried_job_is_in_the_lane_of_its_own_topic() -> None:
    # Given two main topics with the same key, in one of which a job runs
    mains = (f"{MAIN}.high", f"{MAIN}.low")
    engine = Engine(Ladder(TOPICS, mains, {SHORT: 1.0}, (1.0,), {}))
    driver = Driver(engine)
    engine.assigned([(topic, 0) for topic in (*mains, SHORT)])
    take(engine, ends={SHORT: 0})
    driver.receive(FakeMessage(mains[0], 0))
    engine.ended(mains[1], 0, 1, 0.0)

    # When a job of the other one comes due in the tier that both have
    retried = FakeMessage(SHORT, 0, headers_=[("sj-origin", f"{mains[1]}:0:0".encode())])
    driver.receive(retried, now=1.0)

    # Then it waits for none but its own, and its end frees its own alone
    assert driver.started == [(mains[0], 0), (SHORT, 0)]
    driver.receive(FakeMessage(mains[0], 1), FakeMessage(mains[1], 1))
    driver.finish(0, None, SHORT)
    assert driver.started[2:] == [(mains[1], 1)]


def test_where_the_partition_is_one_line_a_job_that_always_fails_is_dead_in_the_end(
    make_driver: Callable[..., Driver],
) -> None:
    # Given one line, whose head waits in its place, with its state in memory alone
    driver = make_driver(ordering=Ordering.PARTITION, immediate=1)
    own(driver.engine, 0)
    driver.main(0, 1)

    # When it fails as often as it is tried
    for now in (0.0, 0.0, 1.0, 11.0):
        driver.tick(now)
        driver.finish(0, FAILED)

    # Then it is dead, and the line goes on
    (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]
    assert (move.topic, move.reason, move.delivery.attempts) == (DLQ, Reason.EXHAUSTED, 4)
    assert driver.started[-1] == (MAIN, 1)
