"""Records of a tier that were deleted before they were read: their keys go on without them."""

from __future__ import annotations

from collections.abc import Callable

from unit.engine.drive import FAILED, LONG, MAIN, SHORT, Driver, FakeMessage, origin, take

from streamjobs.engine.intake import HELD_PER_TIER

Make = Callable[..., Driver]
# Main was done up to here when the shard was taken.
DONE = 9_000


def parked(tier: str, offset: int, key: bytes, place: int | None = None) -> FakeMessage:
    headers = origin(offset if place is None else place)
    return FakeMessage(tier, offset, key, at=100.0, headers_=headers)


def taken(driver: Driver, *messages: FakeMessage, long: int = 0) -> Driver:
    """One that has taken a shard with these in its short tier."""
    driver.engine.assigned([(topic, 0) for topic in (MAIN, SHORT, LONG)])
    take(driver.engine, committed={MAIN: DONE}, ends={SHORT: len(messages), LONG: long})
    driver.receive(*messages, now=100.0)
    driver.engine.take_flow()
    return driver


def crowd(*keys: bytes) -> list[FakeMessage]:
    """As many as are held, and these, of which only the places are noted."""
    held = [parked(SHORT, n, b"%d" % n) for n in range(HELD_PER_TIER)]
    return held + [parked(SHORT, n, key) for n, key in enumerate(keys, start=HELD_PER_TIER)]


def test_the_key_of_one_that_was_noted_goes_on_when_the_tier_was_read_past_it(
    make_driver: Make,
) -> None:
    # Given jobs behind three that are only noted, of which one is the second of its key
    driver = taken(make_driver(capacity=2 * HELD_PER_TIER), *crowd(b"a", b"b", b"b"))
    driver.main(DONE, key=b"a")
    driver.main(DONE + 1, key=b"b")
    last = HELD_PER_TIER + 2

    # When all but the last are deleted, it is told, and the tier is read on
    driver.engine.deleted(0, {SHORT: last + 1, LONG: 0})
    driver.tick(100.1)
    assert driver.started == []
    driver.receive(parked(SHORT, last, b"b"), now=100.2)
    driver.tick(100.3)

    # Then the first key goes on, and the other one with what is left of it
    assert driver.started == [(MAIN, DONE)]
    driver.tick(101.0)
    assert (SHORT, last) in driver.started
    driver.finish(last, topic=SHORT)
    assert driver.started[-1] == (MAIN, DONE + 1)


def test_of_a_tier_that_is_lost_nothing_is_waited_for(make_driver: Make) -> None:
    driver = taken(make_driver(), parked(SHORT, 0, b"a"))
    driver.engine.lose([LONG])
    driver.engine.revoked([(LONG, 0)])
    take(driver.engine, committed={MAIN: DONE}, ends={SHORT: 1})
    driver.engine.take_flow()
    driver.receive(parked(SHORT, 0, b"a"), now=100.0)
    driver.main(DONE)
    assert driver.started[-1] == (MAIN, DONE)

    driver.engine.deleted(0, {SHORT: 1, LONG: 7})
    assert driver.engine._shards[0].until
    driver.tick(101.0)

    assert not driver.engine._shards[0].until


def test_nobodys_place_is_forgotten_before_all_tiers_are_read_to_their_ends(
    make_driver: Make,
) -> None:
    # Given one that is noted in the short tier; where a noted one stands is not known later
    driver = taken(make_driver(), *crowd(b"a"))
    driver.main(DONE, key=b"a")

    # When records were deleted, and the other tier is not read to where it ended then
    driver.engine.deleted(0, {SHORT: HELD_PER_TIER + 1, LONG: 2})
    driver.engine.ended(SHORT, 0, HELD_PER_TIER + 1, 100.1)
    driver.tick(100.1)
    assert driver.started == []
    driver.engine.ended(LONG, 0, 2, 100.2)
    driver.tick(100.2)

    # Then its key waits until it is
    assert driver.started == [(MAIN, DONE)]


def test_so_does_the_key_of_one_that_was_moved_and_not_read_back(make_driver: Make) -> None:
    # Given a job that failed and went to a tier, and one behind it
    driver = taken(make_driver())
    driver.main(DONE, key=b"a")
    driver.finish(DONE, FAILED)
    assert driver.commit() is not None
    driver.main(DONE + 1, key=b"a")

    # When it is deleted there
    driver.engine.deleted(0, {SHORT: 1, LONG: 0})
    driver.engine.ended(SHORT, 0, 1, 100.1)
    driver.tick(100.1)

    # Then the one behind it goes on
    assert driver.started[-1] == (MAIN, DONE + 1)


def test_what_is_moved_since_is_waited_for(make_driver: Make) -> None:
    # Given a job that failed and is not written to its tier, and one that fails later
    driver = taken(make_driver())
    driver.main(DONE, key=b"a")
    driver.main(DONE + 1, key=b"b")
    driver.finish(DONE, FAILED)

    # When records of that tier were deleted before, and it is read to where it ended then
    driver.engine.deleted(0, {SHORT: 1, LONG: 0})
    driver.finish(DONE + 1, FAILED)
    driver.commit()
    driver.engine.ended(SHORT, 0, 1, 100.1)
    driver.main(DONE + 2, key=b"a")
    driver.main(DONE + 3, key=b"b")
    driver.tick(100.1)

    # Then both are waited for
    assert len(driver.started) == 2
    for offset, key in enumerate((b"a", b"b"), start=1):
        driver.receive(parked(SHORT, offset, key, place=DONE + offset - 1), now=100.2)
    driver.tick(101.0)
    assert driver.started[2:] == [(SHORT, 1), (SHORT, 2)]


def test_what_is_in_memory_runs_though_it_was_deleted(make_driver: Make) -> None:
    driver = taken(make_driver(), parked(SHORT, 0, b"a"))
    driver.main(DONE, key=b"a")

    driver.engine.deleted(0, {SHORT: 1, LONG: 0})
    driver.tick(100.1)
    driver.tick(101.0)

    assert driver.started == [(SHORT, 0)]


def test_while_the_tiers_are_read_for_the_first_time_nothing_is_forgotten(
    make_driver: Make,
) -> None:
    # Given a shard whose tiers are not read to their ends: what is deleted then is met once more
    driver = make_driver()
    driver.engine.assigned([(topic, 0) for topic in (MAIN, SHORT, LONG)])
    take(driver.engine, committed={MAIN: DONE}, ends={SHORT: HELD_PER_TIER + 1, LONG: 2})
    driver.receive(*crowd(b"a"), now=100.0)

    driver.engine.deleted(0, {SHORT: 1, LONG: 0})
    driver.engine.ended(LONG, 0, 2, 100.0)
    driver.main(DONE, key=b"a")
    driver.tick(100.1)

    assert driver.started == []
    assert driver.engine.take_flow().seek == [(SHORT, 0, HELD_PER_TIER)]


def test_of_a_shard_that_is_not_owned_it_says_nothing(make_driver: Make) -> None:
    make_driver().engine.deleted(0, {SHORT: 1, LONG: 0})
