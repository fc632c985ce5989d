"""The worked cases of order through retries, each as it must go."""

from __future__ import annotations

from collections.abc import Callable

from unit.engine.drive import (
    DLQ,
    FAILED,
    FAILURE,
    LONG,
    MAIN,
    SHORT,
    Driver,
    FakeMessage,
    origin,
    own,
    take,
)

from streamjobs.engine.ladder import Ordering
from streamjobs.engine.parking import LANE_CAP
from streamjobs.engine.results import Failed, Rejected
from streamjobs.errors import InvalidRecord
from streamjobs.headers import Reason
from streamjobs.worker.describe import describe

Make = Callable[..., Driver]
TO_LONG = Failed(FAILURE, retry_after=5.0)
DEAD = Rejected(FAILURE, Reason.REJECTED)


class Tiers:
    """The tiers' logs: what a driver's moves write, and what is read back."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.ends = {SHORT: 0, LONG: 0, DLQ: 0}
        self.moves: list[tuple[str, int, str]] = []

    def commit(
        self, now: float, *, read: bool = True, stamp: float | None = None
    ) -> list[FakeMessage]:
        """Commit a cycle and read back what it moved; returns the records.

        ``stamp`` is the broker's clock where it is not the host's.
        """
        cycle = self.driver.engine.cycle()
        if cycle is None:
            return []
        self.driver.engine.committed(cycle)
        records = []
        for move in cycle.moves:
            at = move.delivery.origin
            assert at is not None
            self.moves.append((move.topic, at.offset, str(move.reason)))
            state = {"sj-attempt": str(move.delivery.attempts), "sj-rung": str(move.delivery.rung)}
            headers = origin(at.offset, **{"sj-reason": str(move.reason), **state})
            offset = self.ends[move.topic]
            self.ends[move.topic] += 1
            key = move.record.key
            records.append(FakeMessage(move.topic, offset, key, at=stamp or now, headers_=headers))
        for record in records if read else []:
            if record.topic_ != DLQ:
                self.driver.receive(record, now=now)
        return records


def places(driver: Driver) -> list[int]:
    """The origins of the jobs in the order in which they were started."""
    return driver.places


def test_b_arrives_while_a_waits_and_runs_after_it(driver: Driver) -> None:
    # Given A, which failed and waits a second
    tiers = Tiers(driver)
    driver.main(0)
    driver.finish(0, FAILED)
    tiers.commit(100.0)

    # When B arrives, and A comes due and succeeds
    driver.main(1)
    assert places(driver) == [0]
    driver.tick(101.0)
    assert places(driver) == [0, 0]
    driver.finish(0, topic=SHORT)

    # Then B runs from memory, and was never moved
    assert places(driver) == [0, 0, 1]
    assert tiers.moves == [(SHORT, 0, "failed")]


def test_a_fails_twice_while_b_and_c_wait(driver: Driver) -> None:
    # Given A in the short tier, with B and C in memory behind it
    tiers = Tiers(driver)
    driver.main(0, 1, 2)
    driver.finish(0, FAILED)
    tiers.commit(100.0)
    driver.tick(101.0)

    # When A fails again and waits ten seconds more, B and C are moved out of the way
    driver.finish(0, FAILED, topic=SHORT)
    tiers.commit(101.0)
    assert tiers.moves[1:] == [(LONG, 0, "failed"), (LONG, 1, "waiting"), (LONG, 2, "waiting")]
    assert driver.engine.load == 0

    # Then, when A succeeds, they run at once from the tier's buffer, in order
    driver.tick(111.0)
    driver.finish_all()
    assert places(driver) == [0, 0, 0, 1, 2]


def test_c_does_not_overtake_b_that_fails_for_the_first_time_in_a_long_tier(driver: Driver) -> None:
    # Given A failed into the long tier, B and C moved behind it
    tiers = Tiers(driver)
    driver.main(0, 1, 2)
    driver.finish(0, TO_LONG)
    tiers.commit(100.0)
    driver.tick(110.0)
    driver.finish(0, topic=LONG)
    assert places(driver) == [0, 0, 1]

    # When B fails for the first time, to the short tier, and C was given back
    driver.finish_place(1, FAILED)
    tiers.commit(110.0)
    assert tiers.moves[-1] == (SHORT, 1, "failed")

    # Then C waits for it, however long ago it came due itself
    driver.tick(110.9)
    assert places(driver) == [0, 0, 1]
    driver.tick(111.0)
    driver.finish_place(1)
    assert places(driver) == [0, 0, 1, 1, 2]


def test_a_dies_and_b_and_c_run(driver: Driver) -> None:
    tiers = Tiers(driver)
    driver.main(0)
    driver.finish(0, TO_LONG)
    tiers.commit(100.0)
    driver.main(1, 2)
    tiers.commit(100.0)

    driver.tick(110.0)
    driver.finish(0, DEAD, topic=LONG)
    driver.finish_all()

    assert places(driver) == [0, 0, 1, 2]


def test_a_follower_of_a_long_wait_is_moved_once_and_starts_before_it_is_due(
    driver: Driver,
) -> None:
    # Given A, due at 110, and B moved at 109: due at 119
    tiers = Tiers(driver)
    driver.main(0)
    driver.finish(0, TO_LONG)
    tiers.commit(100.0)
    driver.tick(105.0)
    driver.main(1)
    tiers.commit(105.0)
    assert tiers.moves == [(LONG, 0, "failed"), (LONG, 1, "waiting")]

    # When A succeeds at 110
    driver.tick(110.0)
    driver.finish(0, topic=LONG)

    # Then B's turn has come: its own delay was never more than waiting
    assert places(driver) == [0, 0, 1]


def test_what_failed_waits_out_its_delay_although_its_turn_has_come(driver: Driver) -> None:
    tiers = Tiers(driver)
    driver.main(0)
    driver.finish(0, TO_LONG)
    tiers.commit(100.0)

    driver.tick(109.9)

    assert places(driver) == [0]


def test_a_tier_record_waits_until_main_was_received_past_its_origin(make_driver: Make) -> None:
    """The last owner held A from main in memory and had moved B: A comes first all the same."""
    driver = make_driver()
    own(driver.engine, 0)

    # Given B in a tier, due and with nothing outstanding before it as far as tiers tell
    driver.receive(FakeMessage(SHORT, 0, headers_=origin(7)), now=50.0)
    assert driver.started == []

    # When main is read again and brings A
    driver.main(3)
    assert driver.started == [(MAIN, 3)]
    driver.main(7)
    driver.finish(3)

    # Then B runs after it, once: the copy in main is the older one
    assert driver.started == [(MAIN, 3), (SHORT, 0)]


def test_a_tier_record_starts_when_main_has_ended_past_its_origin(driver: Driver) -> None:
    driver.receive(FakeMessage(SHORT, 0, headers_=origin(7)), now=50.0)
    assert driver.started == []

    driver.engine.ended(MAIN, 0, 8, 50.0)
    driver.begin()

    assert driver.started == [(SHORT, 0)]


def test_an_origin_past_the_end_of_main_is_forged(driver: Driver) -> None:
    driver.engine.ended(MAIN, 0, 5, 50.0)

    driver.receive(FakeMessage(SHORT, 0, headers_=origin(5)), now=50.0)

    (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]
    assert (move.topic, move.reason) == (DLQ, Reason.INVALID)
    assert move.failure is not None
    assert move.failure.type == describe(InvalidRecord()).type
    assert driver.started == []
    assert driver.engine.load == 0
    # And it is counted and told like every other dead letter
    assert driver.engine.counts == {("", "dead"): 1}
    assert driver.engine.last_move is move


def test_an_origin_of_another_partition_is_forged(driver: Driver) -> None:
    headers = (("sj-origin", b"T:5:0"),)

    driver.receive(FakeMessage(SHORT, 0, headers_=headers), now=50.0)

    (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]
    assert (move.topic, move.reason) == (DLQ, Reason.INVALID)
    assert move.failure is not None
    assert move.failure.type == describe(InvalidRecord()).type


def test_an_end_that_is_told_by_a_broker_that_is_behind_refuses_nobody(
    make_driver: Callable[..., Driver],
) -> None:
    # given a shard whose main ended at 11 when it was taken, and a job of it in a tier
    driver = make_driver()
    driver.engine.assigned([(topic, 0) for topic in (MAIN, SHORT, LONG)])
    take(driver.engine, ends={MAIN: 11, SHORT: 1})
    driver.receive(FakeMessage(SHORT, 0, at=100.0, headers_=origin(10)), now=100.0)

    # when main is read from one that has only 5 of it so far
    driver.main(*range(5), key=b"other")
    driver.engine.ended(MAIN, 0, 5, 101.0)
    driver.tick(102.0)
    driver.finish_all()
    assert driver.engine.cycle() is not None
    assert (SHORT, 0) not in driver.started

    # then it waits, and runs when main is read past its place
    driver.main(*range(5, 10), key=b"other")
    driver.main(10)
    assert (SHORT, 0) in driver.started


def test_an_origin_of_an_older_topic_comes_first(driver: Driver) -> None:
    driver.main(0)
    driver.finish(0, FAILED)
    Tiers(driver).commit(100.0)

    old = (("sj-origin", b"Z:0:900"), ("sj-attempt", b"1"))
    driver.receive(FakeMessage(SHORT, 5, at=100.0, headers_=old), now=100.0)
    driver.tick(101.0)

    assert driver.started == [(MAIN, 0), (SHORT, 5)]


def test_jobs_of_two_older_topics_are_no_copies_of_one_another(driver: Driver) -> None:
    # given jobs of one key that stood at the same offset of topics that are no more
    for number, topic in enumerate((b"Y", b"Z")):
        old = (("sj-origin", topic + b":0:9"), ("sj-attempt", b"1"))
        driver.receive(FakeMessage(SHORT, number, at=100.0, headers_=old), now=100.0)

    driver.tick(101.0)
    driver.finish_all()

    # then both run, and before what is in main
    assert sorted(driver.started) == [(SHORT, 0), (SHORT, 1)]
    assert max(driver.places) < 0


def test_a_clock_that_jumps_back_an_hour_delays_but_neither_reorders_nor_loses(
    driver: Driver,
) -> None:
    # Given A in the short tier, B in memory behind it, and D of another key in the long tier
    tiers = Tiers(driver)
    driver.main(0, 1)
    driver.main(2, key=b"other")
    driver.finish(0, FAILED)
    driver.finish(2, TO_LONG)
    tiers.commit(5_000.0)

    # When the host's clock jumps back an hour, and C arrives, and a fresh key
    driver.tick(1_400.0)
    driver.main(3)
    driver.main(4, key=b"fresh")
    tiers.commit(1_400.0, stamp=5_000.0)

    # Then fresh keys run, and nothing that waits is early
    assert places(driver) == [0, 2, 4]
    driver.finish(4)
    driver.tick(5_000.9)
    assert places(driver) == [0, 2, 4]

    # And when its time has come all of it runs, each key in order, each job once
    driver.tick(5_001.0)
    driver.finish_all()
    assert places(driver) == [0, 2, 4, 0, 1, 3]
    driver.tick(5_010.0)
    driver.finish_all()
    assert places(driver) == [0, 2, 4, 0, 1, 3, 2]
    driver.commit()
    assert (driver.engine.load, driver.engine.held, driver.engine.waiting) == (0, 0, 0)


def parked(count: int) -> list[FakeMessage]:
    """A long tier full of jobs of as many keys."""
    return [FakeMessage(LONG, n, b"%d" % n, at=9.0, headers_=origin(n)) for n in range(count)]


class TestTaking:
    def test_nothing_starts_before_the_tiers_are_read_to_their_ends(
        self, make_driver: Make
    ) -> None:
        # Given A in the long tier, B in the short one, C in main
        driver = make_driver()
        driver.engine.assigned([(t, 0) for t in (MAIN, SHORT, LONG)])
        take(driver.engine, committed={MAIN: 2}, ends={SHORT: 1, LONG: 1})
        driver.main(2)
        driver.receive(FakeMessage(SHORT, 0, headers_=origin(1)), now=90.0)
        assert driver.started == []

        # When the last of the tiers is read
        driver.receive(FakeMessage(LONG, 0, at=81.5, headers_=origin(0)), now=90.0)
        driver.tick(90.0)

        # Then A goes first, though it is due last
        assert driver.started == []
        driver.tick(95.0)
        driver.finish(0, topic=LONG)
        driver.finish(0, topic=SHORT)
        assert driver.places == [0, 1, 2]

    def test_an_end_of_partition_event_ends_the_reading_too(self, make_driver: Make) -> None:
        driver = make_driver()
        driver.engine.assigned([(t, 0) for t in (MAIN, SHORT, LONG)])
        take(driver.engine, ends={SHORT: 3})
        driver.main(0)
        assert driver.started == []

        driver.engine.ended(SHORT, 0, 3, 1.0)
        driver.begin()

        assert driver.started == [(MAIN, 0)]

    def test_of_a_long_tier_only_the_first_are_held_and_the_rest_is_read_again(
        self, make_driver: Make
    ) -> None:
        driver = make_driver()
        driver.engine.assigned([(t, 0) for t in (MAIN, SHORT, LONG)])
        take(driver.engine, ends={LONG: 5_000})
        driver.receive(
            *(FakeMessage(LONG, n, b"%d" % n, at=9.0, headers_=origin(n)) for n in range(5_000))
        )

        flow = driver.engine.take_flow()

        assert flow.seek == [(LONG, 0, 2_000)]
        assert driver.engine.held == 2_000
        assert driver.engine.parked_keys == 5_000

    def test_a_key_known_from_its_scan_waits_though_its_record_is_not_held(
        self, make_driver: Make
    ) -> None:
        driver = make_driver()
        driver.engine.assigned([(t, 0) for t in (MAIN, SHORT, LONG)])
        take(driver.engine, committed={MAIN: 5_000}, ends={LONG: 5_000})
        driver.receive(
            *(FakeMessage(LONG, n, b"%d" % n, at=9.0, headers_=origin(n)) for n in range(5_000))
        )
        driver.engine.take_flow()

        driver.main(5_000, key=b"4999")
        driver.main(5_001, key=b"free")

        assert driver.started == [(MAIN, 5_001)]


class TestCrowds:
    def test_a_thousand_parked_keys_do_not_hold_up_a_free_one(self, driver: Driver) -> None:
        tiers = Tiers(driver)
        for n in range(1_000):
            driver.main(n, key=b"%d" % n)
            driver.finish(n, TO_LONG)
        tiers.commit(100.0)

        driver.main(1_000, key=b"free")

        assert driver.started[-1] == (MAIN, 1_000)

    def test_followers_above_the_cap_are_moved_and_the_lowest_kept(self, driver: Driver) -> None:
        tiers = Tiers(driver)
        driver.main(0)
        driver.finish(0, FAILED)
        tiers.commit(100.0)

        driver.main(*range(1, LANE_CAP + 11))
        tiers.commit(100.0)

        moved = [place for _, place, reason in tiers.moves if reason == "waiting"]
        assert moved == list(range(LANE_CAP + 1, LANE_CAP + 11))

    def test_a_hot_keys_10_000_followers_run_in_order_with_few_moves(self, driver: Driver) -> None:
        # Given a head that waits ten seconds, and 10,000 followers
        tiers, total = Tiers(driver), 10_000
        driver.main(0)
        driver.finish(0, TO_LONG)
        tiers.commit(100.0)
        for begin in range(1, total, 500):
            driver.main(*range(begin, min(total, begin + 500)))
            tiers.commit(100.0, read=False)
        backlog = [
            FakeMessage(LONG, n, b"k", at=100.0, headers_=origin(n, **{"sj-reason": "waiting"}))
            for n in range(1, total)
        ]
        now, read = 110.0, 0

        # When time passes and the tier is read as fast as its buffer takes it
        for _ in range(1_000):
            while read < len(backlog) and not driver.paused(LONG):
                batch = backlog[read : read + 200]
                driver.receive(*batch, now=now)
                read += len(batch)
            driver.tick(now)
            driver.finish_all()
            backlog += tiers.commit(now, read=False)
            now += 0.01
            if driver.engine.load == 0 and read >= len(backlog) and not driver.running:
                break

        # Then all ran in order, and no follower was moved more than three times
        assert driver.places[1:] == list(range(total))
        assert len(tiers.moves) <= 3 * total

    def test_a_line_longer_than_memory_goes_on_when_its_head_succeeds(self, driver: Driver) -> None:
        # Given a head that failed for a second, with more behind it than memory and buffers keep
        tiers, total, now = Tiers(driver), 6_000, 100.0
        driver.now = now
        driver.main(0)
        driver.finish(0, FAILED)
        tiers.commit(now)
        driver.main(*range(1, total))
        unread = tiers.commit(now, read=False)

        # When it fails again, for ten seconds, and then succeeds
        now += 1.0
        driver.tick(now)
        driver.finish_place(0, TO_LONG)
        while now < 113.0:
            unread += tiers.commit(now, read=False)
            for record in list(unread):
                if not driver.paused(record.topic_):
                    driver.receive(record, now=now)
                    unread.remove(record)
            now += 0.1
            driver.tick(now)
            driver.finish_all()

        # Then within two seconds all have run, in order; the first stayed in memory all the time,
        # as in the tier they would stand behind those that follow them
        assert driver.places[2:] == list(range(total))
        assert not {place for _, place, _ in tiers.moves} & set(range(1, LANE_CAP + 1))
        assert len(tiers.moves) <= 3 * total

    def test_a_busy_key_is_back_in_main_soon_after_its_head_succeeded(self, driver: Driver) -> None:
        # Given a key fed a hundred jobs a second, whose head failed for ten seconds
        tiers = Tiers(driver)
        driver.main(0)
        driver.finish(0, TO_LONG)
        now, place = 100.0, 1
        tiers.commit(now)

        # When its head succeeds at 110, and jobs keep coming
        while now < 113.0:
            now += 0.01
            driver.main(place)
            place += 1
            driver.tick(now)
            driver.finish_all()
            tiers.commit(now)

        # Then three seconds later they run from main as they come
        assert driver.started[-1] == (MAIN, place - 1)
        assert driver.places[1:] == list(range(place))
        assert driver.engine.parked_keys == 0

    def test_followers_of_a_head_that_runs_long_make_room(self, make_driver: Make) -> None:
        # Given memory full of the followers of one job
        driver = make_driver(capacity=50)
        own(driver.engine, 0)
        driver.main(*range(60))
        for second in range(11):
            driver.tick(float(second))
        assert driver.engine.full
        assert not driver.engine.moves_wait

        # When it has run for over ten seconds
        for second in range(11, 15):
            driver.tick(float(second))

        # Then they are moved out of the way, and run after it all the same
        moves = driver.engine.cycle().moves  # type: ignore[union-attr]
        assert [str(m.reason) for m in moves] == ["waiting"] * 59
        assert not driver.engine.full

    def test_a_hot_key_that_gets_on_is_never_moved(self, make_driver: Make) -> None:
        driver = make_driver(capacity=50)
        own(driver.engine, 0)
        driver.main(*range(60))
        for second in range(60):
            driver.tick(float(second))
            driver.finish(second)
            driver.main(60 + second)

        assert driver.engine.cycle().moves == []  # type: ignore[union-attr]


class TestOtherOrders:
    def test_without_order_nobody_waits_for_a_parked_key(self, make_driver: Make) -> None:
        driver = make_driver(ordering=Ordering.NONE)
        own(driver.engine, 0)
        driver.main(0, 1)
        driver.finish(0, FAILED)
        driver.main(2)

        assert [o for _, o in driver.started] == [0, 1, 2]

    def test_with_one_line_per_partition_the_shard_stands_still(self, make_driver: Make) -> None:
        driver = make_driver(ordering=Ordering.PARTITION)
        own(driver.engine, 0)
        driver.main(0, key=b"a")
        driver.main(1, key=b"b")
        driver.now = 100.0
        driver.finish(0, FAILED)
        assert driver.engine.cycle().moves == []  # type: ignore[union-attr]
        driver.tick(100.9)
        assert driver.started == [(MAIN, 0)]

        driver.tick(101.0)
        assert driver.started == [(MAIN, 0), (MAIN, 0)]
        driver.finish(0)
        assert driver.started == [(MAIN, 0), (MAIN, 0), (MAIN, 1)]

    def test_immediate_tries_use_attempts_and_no_rung(self, make_driver: Make) -> None:
        driver = make_driver(immediate=2)
        own(driver.engine, 0)
        driver.main(0, 1)
        for _ in range(3):
            driver.finish(0, FAILED)

        (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]

        assert driver.places.count(0) == 3
        assert (move.topic, move.delivery.attempts, move.delivery.rung) == (SHORT, 3, 1)
