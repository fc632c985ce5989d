from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
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

from streamjobs.engine.intake import HELD_PER_TIER
from streamjobs.engine.results import DISCARDED, RELEASED, Failed, Rejected, Result, Succeeded
from streamjobs.headers import Origin, Reason


class TestLanes:
    def test_one_job_of_a_key_runs_at_a_time(self, driver: Driver) -> None:
        driver.main(0, 1)

        assert driver.started == [(MAIN, 0)]
        driver.finish(0)
        assert driver.started == [(MAIN, 0), (MAIN, 1)]

    def test_keys_do_not_wait_for_each_other(self, driver: Driver) -> None:
        driver.main(0, key=b"a")
        driver.main(1, key=b"b")

        assert driver.started == [(MAIN, 0), (MAIN, 1)]

    def test_jobs_without_a_key_wait_for_nobody(self, driver: Driver) -> None:
        driver.main(0, 1, 2, key=None)

        assert len(driver.running) == 3

    def test_followers_are_handed_over_together_and_in_order(self, driver: Driver) -> None:
        driver.main(0, 1, 2, 3)

        driver.finish(0)
        (run,) = driver.runs

        assert [r.offset for r in run] == [1, 2, 3]
        assert [r.last for r in run] == [False, False, True]

    def test_what_a_run_did_not_begin_is_first_in_line_again(self, driver: Driver) -> None:
        driver.main(0, 1, 2, 3)
        driver.finish(0)
        driver.main(4)

        driver.finish(1, Rejected(FAILURE, Reason.REJECTED))

        assert [[r.offset for r in run] for run in driver.runs] == [[2, 3, 4]]
        assert driver.engine.load == 3

    def test_a_job_without_a_key_that_was_given_back_starts_again(self, driver: Driver) -> None:
        driver.main(0, key=None)

        driver.finish(0, RELEASED)

        assert driver.started == [(MAIN, 0), (MAIN, 0)]
        assert driver.engine.cycle().offsets == {(MAIN, 0): 0}  # type: ignore[union-attr]

    def test_an_idle_lane_is_forgotten(self, driver: Driver) -> None:
        driver.main(0, 1)
        driver.finish(0)
        driver.finish(1)

        assert driver.engine.load == 0
        driver.main(2)
        assert driver.started[-1] == (MAIN, 2)


class TestLadder:
    def test_a_failed_job_moves_to_the_first_tier_with_its_state(self, driver: Driver) -> None:
        driver.main(7)
        driver.finish(7, FAILED)

        cycle = driver.commit()

        assert cycle is not None
        (move,) = cycle.moves
        assert (move.topic, move.reason, move.failure) == (SHORT, Reason.FAILED, FAILURE)
        assert (move.delivery.attempts, move.delivery.rung) == (1, 1)
        assert move.delivery.origin == Origin("T", 0, 7)
        assert cycle.offsets == {(MAIN, 0): 8}

    def test_it_climbs_by_its_rung_and_keeps_its_origin(self, driver: Driver) -> None:
        headers = ((n, v.encode()) for n, v in self.state(attempt=1, rung=1).items())
        driver.engine.ended(MAIN, 0, 8, 0.0)
        driver.receive(FakeMessage(SHORT, 3, headers_=tuple(headers)), now=5.0)

        driver.finish(3, FAILED, topic=SHORT)

        (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]
        assert move.topic == LONG
        assert (move.delivery.attempts, move.delivery.rung) == (2, 2)
        assert move.delivery.origin == Origin("T", 0, 7)

    def test_after_the_last_rung_it_is_dead(self, driver: Driver) -> None:
        headers = tuple((n, v.encode()) for n, v in self.state(attempt=2, rung=2).items())
        driver.engine.ended(MAIN, 0, 8, 0.0)
        driver.receive(FakeMessage(LONG, 3, headers_=headers), now=50.0)

        driver.finish(3, FAILED, topic=LONG)

        (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]
        assert (move.topic, move.reason) == (DLQ, Reason.EXHAUSTED)
        assert move.delivery.attempts == 3

    def test_retry_after_waits_in_the_shortest_tier_that_is_long_enough(
        self, driver: Driver
    ) -> None:
        driver.main(0)
        driver.finish(0, Failed(FAILURE, retry_after=2.0))

        (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]

        assert move.topic == LONG
        assert move.delivery.rung == 1

    def test_an_unknown_job_goes_down_the_ladder_before_it_is_dead(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        unknown = Failed(FAILURE, reason=Reason.UNKNOWN_JOB, final=Reason.UNKNOWN_JOB)
        driver, short = make_driver(), make_driver(writes=())
        for each in (driver, short):
            own(each.engine, 0)
            each.main(0)
            each.finish(0, unknown)

        moves = [each.engine.cycle().moves[0] for each in (driver, short)]  # type: ignore[union-attr]

        assert [m.topic for m in moves] == [SHORT, DLQ]
        assert [m.reason for m in moves] == [Reason.UNKNOWN_JOB] * 2

    def test_what_cannot_be_helped_goes_to_the_dlq_at_once(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0, Rejected(FAILURE, Reason.INVALID))

        (move,) = driver.engine.cycle().moves  # type: ignore[union-attr]

        assert (move.topic, move.reason) == (DLQ, Reason.INVALID)
        assert driver.engine.counts == {("send", "dead"): 1}

    def test_a_discarded_job_is_complete_without_a_move(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0, DISCARDED)

        cycle = driver.engine.cycle()

        assert cycle is not None
        assert not cycle.produces
        assert cycle.offsets == {(MAIN, 0): 1}

    def test_children_go_with_the_success_of_their_parent(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0, Succeeded(("child",)))

        cycle = driver.engine.cycle()

        assert cycle is not None
        assert [child for _, child in cycle.children] == ["child"]
        assert cycle.produces
        assert cycle.offsets == {(MAIN, 0): 1}

    @staticmethod
    def state(*, attempt: int, rung: int) -> dict[str, str]:
        return {"sj-attempt": str(attempt), "sj-rung": str(rung), "sj-origin": "T:0:7"}


class TestDue:
    def test_a_record_waits_for_its_brokers_stamp_plus_the_delay(self, driver: Driver) -> None:
        driver.engine.ended(MAIN, 0, 8, 0.0)
        driver.receive(FakeMessage(SHORT, 0, at=100.0, headers_=origin(7)), now=100.0)
        driver.tick(100.999)
        assert driver.started == []
        assert driver.engine.next_due() == 101.0

        driver.tick(101.0)

        assert driver.started == [(SHORT, 0)]

    def test_a_retried_job_goes_before_its_waiting_followers(self, driver: Driver) -> None:
        driver.main(5, 6, 7)
        driver.receive(FakeMessage(SHORT, 0, headers_=origin(4)), now=9.0)
        driver.finish_all()

        assert driver.started[1:] == [(SHORT, 0), (MAIN, 6), (MAIN, 7)]

    def test_a_full_tier_is_paused_and_flows_again_at_half(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        driver = make_driver(capacity=2 * HELD_PER_TIER)
        own(driver.engine, 0)
        held = [
            FakeMessage(SHORT, n, None, at=float(n), headers_=origin(n))
            for n in range(HELD_PER_TIER)
        ]
        driver.receive(*held, now=-5.0)
        assert driver.engine.take_flow().pause == [(SHORT, 0)]

        driver.tick(1.0 + HELD_PER_TIER // 2 - 2)
        assert driver.engine.take_flow().resume == []
        driver.tick(1.0 + HELD_PER_TIER // 2)

        assert driver.engine.take_flow().resume == [(SHORT, 0)]

    def test_where_all_of_a_tier_is_due_memory_is_bounded_and_main_flows(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        # Given far more retries that are due than there is room for, and jobs in main
        capacity, count = 100, HELD_PER_TIER + 500
        driver = make_driver(capacity=capacity)
        own(driver.engine, 0)
        late = [FakeMessage(SHORT, n, b"%d" % n, headers_=origin(n)) for n in range(count)]
        driver.engine.ended(MAIN, 0, count, 100.0)
        driver.receive(*late[:-500], now=100.0)

        # Then as many are in hand as there is room for, and the tier is read no further
        driver.tick(100.0)
        assert driver.engine.load == capacity
        assert driver.paused(SHORT)

        # And main flows, however long that takes
        for second in range(3):
            driver.tick(101.0 + second)
        assert not driver.paused(MAIN)
        driver.main(count, key=b"fresh")
        assert driver.started[-1] == (MAIN, count)

        # And when all of them have run, the rest is read
        for turn in range(count):
            driver.finish_all()
            driver.tick(105.0 + turn)
            if not driver.running:
                break
        assert not driver.paused(SHORT)
        driver.receive(*late[-500:])
        for turn in range(count):
            driver.finish_all()
            driver.tick(5_000.0 + turn)
        assert len([each for each in driver.started if each[0] == SHORT]) == count

    def test_each_tier_has_its_share_of_the_room(self, make_driver: Callable[..., Driver]) -> None:
        driver = make_driver(capacity=100)
        own(driver.engine, 0, 1)
        for partition in (0, 1):
            driver.engine.ended(MAIN, partition, 500, 0.0)
            for n in range(500):
                of = (("sj-origin", b"T:%d:%d" % (partition, n)), ("sj-attempt", b"1"))
                message = FakeMessage(SHORT, n, b"%d" % n, partition, at=100.0, headers_=of)
                driver.receive(message, now=100.0)

        driver.tick(101.0)

        shares = Counter(record.log.partition for record in driver.running)
        assert shares == {0: 50, 1: 50}


class TestCycle:
    def test_an_offset_leaves_only_with_the_moves_below_it(self, driver: Driver) -> None:
        driver.main(0, key=b"a")
        driver.main(1, key=b"b")
        driver.finish(0, FAILED)
        driver.finish(1)
        aborted = driver.engine.cycle()
        assert aborted is not None

        driver.engine.aborted(aborted)
        again = driver.engine.cycle()

        assert again is not None
        assert [m.record.offset for m in again.moves] == [0]
        assert again.offsets == {(MAIN, 0): 2}

    def test_a_cycle_that_moves_names_its_source_even_where_it_stands_still(
        self, driver: Driver
    ) -> None:
        driver.main(0, key=b"a")
        driver.main(1, key=b"b")
        driver.commit()
        driver.finish(1, FAILED)

        cycle = driver.engine.cycle()

        assert cycle is not None
        assert cycle.offsets == {(MAIN, 0): 0}

    def test_an_aborted_cycle_of_children_goes_again_whole(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0, Succeeded(("child",)))
        aborted = driver.engine.cycle()
        assert aborted is not None

        driver.engine.aborted(aborted)
        again = driver.engine.cycle()

        assert again == aborted

    def test_of_an_aborted_cycle_only_what_is_owned_still_goes_again(self, driver: Driver) -> None:
        own(driver.engine, 1)
        for partition in (0, 1):
            driver.main(0, key=b"bad", partition=partition)
            driver.main(1, key=b"good", partition=partition)
            driver.finish(0, FAILED)
            driver.finish(1, Succeeded((partition,)))
        aborted = driver.engine.cycle()
        assert aborted is not None

        driver.engine.revoked([(t, 0) for t in (MAIN, SHORT, LONG)])
        driver.engine.aborted(aborted)
        again = driver.engine.cycle()

        assert again is not None
        assert [move.record.log.partition for move in again.moves] == [1]
        assert [child for _, child in again.children] == [1]
        assert again.offsets == {(MAIN, 1): 2}

    def test_what_is_committed_is_not_committed_again(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0)
        assert driver.commit() is not None

        assert driver.engine.cycle() is None

    def test_a_cycle_of_an_older_assignment_changes_nothing(self, driver: Driver) -> None:
        driver.main(0)
        driver.finish(0)
        old = driver.engine.cycle()
        assert old is not None
        parts = [(t, 0) for t in (MAIN, SHORT, LONG)]
        driver.engine.revoked(parts)
        driver.engine.assigned(parts)
        take(driver.engine)

        driver.engine.committed(old)
        driver.main(0)
        driver.finish(0)

        assert driver.engine.cycle().offsets == {(MAIN, 0): 1}  # type: ignore[union-attr]


class TestOwnership:
    def test_a_shard_starts_when_all_of_it_is_owned(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        driver = make_driver()
        driver.engine.assigned([(MAIN, 0), (SHORT, 0)])
        driver.main(0)
        driver.engine.ended(SHORT, 0, 4, 0.0)
        assert driver.started == []

        driver.engine.assigned([(LONG, 0)])
        take(driver.engine)
        driver.begin()

        assert driver.started == [(MAIN, 0)]
        assert driver.commit().offsets == {(MAIN, 0): 0, (SHORT, 0): 4}  # type: ignore[union-attr]

    def test_without_a_tier_that_is_gone_a_shard_goes_on_and_says_nothing_of_it(
        self, driver: Driver
    ) -> None:
        # given a shard that has read all of its partitions
        for topic in (MAIN, SHORT, LONG):
            driver.engine.ended(topic, 0, 1, 0.0)

        # when a tier is gone, then nothing is said of it any more
        driver.engine.lose({LONG})
        cycle = driver.engine.cycle(everything=True)
        assert cycle is not None
        assert set(cycle.notes) == {(MAIN, 0), (SHORT, 0)}
        driver.engine.aborted(cycle)
        assert driver.engine.take_questions() == []

        # and when it is taken back, the shard asks to be taken without it, and starts
        driver.engine.revoked([(LONG, 0)])
        assert not driver.engine.split
        take(driver.engine)
        driver.engine.take_flow()
        driver.main(2)
        assert driver.started == [(MAIN, 2)]

    def test_with_a_tier_less_it_is_split_and_not_taken(self, driver: Driver) -> None:
        engine = driver.engine
        engine.revoked([(LONG, 0)])
        before = engine.split, engine.take_questions()
        engine.lose({LONG})

        assert before == (True, [])
        assert (engine.split, engine.take_questions()) == (False, [0])

    def test_what_was_revoked_neither_starts_nor_commits(self, driver: Driver) -> None:
        driver.main(0, 1)
        driver.main(2, key=b"z")
        running = list(driver.running)
        driver.finish(0, FAILED)
        driver.finish(2, Succeeded(("child",)))
        driver.main(3, key=b"late")
        running = list(driver.running)

        driver.engine.revoked([(t, 0) for t in (MAIN, SHORT, LONG)])
        driver.engine.finished(running, 0.0)

        assert driver.begin() == []
        assert driver.engine.cycle() is None
        assert driver.engine.load == 0
        driver.main(9)
        assert driver.engine.load == 0

    def test_a_shard_that_lost_one_partition_stops_and_reads_again(self, driver: Driver) -> None:
        driver.main(0)
        driver.main(1, key=b"b")
        driver.finish(0)

        driver.engine.revoked([(LONG, 0)])
        driver.main(2)
        driver.engine.assigned([(LONG, 0)])
        take(driver.engine, committed={MAIN: 1})
        flow = driver.engine.take_flow()
        driver.tick(0.0)
        driver.main(1, 2)

        assert (MAIN, 0, 1) in flow.seek
        assert driver.started == [(MAIN, 0), (MAIN, 1), (MAIN, 1)]

    def test_a_shard_that_loses_another_partition_before_the_consumer_was_told_reads_again(
        self, driver: Driver
    ) -> None:
        driver.main(3, 4)

        driver.engine.revoked([(LONG, 0)])
        driver.engine.revoked([(SHORT, 0)])
        driver.main(5)
        driver.engine.assigned([(SHORT, 0), (LONG, 0)])
        take(driver.engine, committed={MAIN: 3})
        flow = driver.engine.take_flow()
        driver.tick(0.0)

        assert flow.seek == [(MAIN, 0, 3)]
        assert driver.commit() is None
        driver.main(3, 4, 5)
        assert driver.engine.load == 3

    @pytest.mark.parametrize(
        "late", [FAILED, Rejected(FAILURE, Reason.REJECTED), Succeeded(("child",))]
    )
    def test_what_ran_when_a_shard_stopped_counts_for_nothing(
        self, driver: Driver, late: Result
    ) -> None:
        driver.main(0, key=b"a")
        driver.main(1, key=b"b")
        running = list(driver.running)
        running[0].result = late

        driver.engine.revoked([(LONG, 0)])
        driver.engine.finished(running, 0.0)

        assert driver.engine.cycle() is None
        assert not driver.engine.moves_wait
        assert driver.engine.load == 0
        assert driver.engine.counts == {}

    def test_a_shard_that_stopped_forgets_its_lanes(self, driver: Driver) -> None:
        driver.main(0, 1)

        driver.engine.revoked([(LONG, 0)])
        driver.engine.assigned([(LONG, 0)])
        take(driver.engine, committed={MAIN: 0})
        driver.engine.take_flow()
        driver.tick(0.0)
        driver.running.clear()
        driver.runs.clear()
        driver.main(0, 1)
        driver.finish(0)

        assert driver.started == [(MAIN, 0), (MAIN, 0), (MAIN, 1)]

    def test_a_shard_that_never_was_whole_forgets_what_came_early(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        driver = make_driver()
        driver.engine.assigned([(MAIN, 0), (SHORT, 0)])
        driver.main(0)

        driver.engine.revoked([(MAIN, 0)])
        own(driver.engine, 0)
        driver.begin()

        assert driver.started == []
        assert driver.engine.load == 0

    def test_a_shard_that_stopped_while_paused_is_read_again(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        driver = make_driver(capacity=2)
        own(driver.engine, 0)
        driver.main(0, 1, key=None)
        driver.tick(10.0)
        driver.tick(11.1)
        assert driver.engine.take_flow().pause == [(MAIN, 0)]

        driver.engine.revoked([(LONG, 0)])

        assert driver.engine.take_flow().resume == [(MAIN, 0)]

    def test_a_seek_of_an_older_assignment_is_forgotten(self, driver: Driver) -> None:
        driver.main(0, 1)
        driver.finish(0)
        driver.engine.revoked([(LONG, 0)])
        driver.engine.assigned([(LONG, 0)])
        take(driver.engine, committed={MAIN: 1})

        driver.engine.revoked([(MAIN, 0), (SHORT, 0), (LONG, 0)])
        own(driver.engine, 0)

        assert driver.engine.take_flow().seek == []
        driver.main(0)
        assert driver.started[-1] == (MAIN, 0)

    def test_a_pause_of_an_older_assignment_is_forgotten(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        """One decided while the shard is given back reaches the consumer when it has it again."""
        driver = make_driver(capacity=2)
        own(driver.engine, 0)
        driver.main(0, 1, key=None)
        driver.engine.withhold([0])
        driver.tick(10.0)
        driver.tick(11.1)

        driver.engine.revoked([(t, 0) for t in (MAIN, SHORT, LONG)])
        own(driver.engine, 0)

        assert not driver.paused(MAIN)

    def test_other_shards_are_left_alone(self, driver: Driver) -> None:
        own(driver.engine, 1)
        driver.main(0, partition=1)

        driver.engine.revoked([(t, 0) for t in (MAIN, SHORT, LONG)])
        driver.finish(0)

        assert driver.commit().offsets == {(MAIN, 1): 1}  # type: ignore[union-attr]


class TestPressure:
    def test_main_is_paused_after_a_while_of_being_full_and_resumed_at_half(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        driver = make_driver(capacity=4)
        own(driver.engine, 0)
        driver.main(0, 1, 2, 3, key=None)
        assert driver.engine.full
        driver.tick(10.0)
        driver.tick(10.9)
        assert driver.engine.take_flow().pause == []

        driver.tick(11.1)
        paused = driver.engine.take_flow().pause
        driver.finish(0)
        driver.tick(11.2)
        early = driver.engine.take_flow().resume
        driver.finish(1)
        driver.tick(11.3)

        assert (paused, early) == ([(MAIN, 0)], [])
        assert driver.engine.take_flow().resume == [(MAIN, 0)]

    def test_a_pause_that_follows_a_resume_before_either_is_told_holds(
        self, make_driver: Callable[..., Driver]
    ) -> None:
        """While a shard is given back many ticks pass before the consumer is told anything."""
        driver = make_driver(capacity=4)
        own(driver.engine, 0)
        driver.main(0, 1, 2, 3, key=None)
        driver.tick(10.0)
        driver.tick(11.1)
        assert driver.paused(MAIN)

        driver.finish(0)
        driver.finish(1)
        driver.tick(11.2)
        driver.main(4, 5, key=None)
        driver.tick(12.0)
        driver.tick(13.1)

        assert driver.paused(MAIN)
