"""What ends its worker again and again: suspected, tried alone under a mark, dead at the third."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.drive import DLQ, FAILED, LONG, MAIN, SHORT, TOPICS, FakeMessage, take

from streamjobs.engine import alone
from streamjobs.engine.cycles import Cycle
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import ROOM, Above, Committed, Metadata, Note, conclude, pack, read
from streamjobs.engine.records import Record, Run
from streamjobs.engine.results import INTERRUPTED, RELEASED, Crashed, Result
from streamjobs.engine.suspicion import (
    ALONE_FROM,
    MARKS,
    MOST_ROUNDS,
    NO_SUSPICION,
    Suspicion,
    read_suspicion,
)
from streamjobs.headers import Failure, Reason

DOUBT = Suspicion(doubt=True, rounds=1)
# What the last of three left that vanished.
THREE = Suspicion(doubt=True, rounds=3)
SEEN = Crashed(-9, Failure("Crashed", "was ended by SIGKILL", ""))
MOST = (1 << 63) - 1

pairs = st.lists(
    st.tuples(st.integers(0, MOST), st.integers(1, 9)),
    min_size=1,
    max_size=MARKS,
    unique_by=lambda pair: pair[0],
)


class TestWords:
    @given(pairs, st.booleans())
    def test_what_is_written_is_read(self, crashes: list[tuple[int, int]], trying: bool) -> None:
        suspicion = crashed(*crashes)._replace(trying=trying)

        assert read_suspicion(suspicion.word) == suspicion

    @given(st.booleans(), st.integers(1, MOST_ROUNDS))
    def test_so_is_how_many_owners_have_vanished(self, doubt: bool, rounds: int) -> None:
        suspicion = Suspicion(doubt=doubt, rounds=rounds)

        assert read_suspicion(suspicion.word) == suspicion
        assert read_suspicion(suspicion.given_back) == Suspicion(rounds=rounds)

    def test_without_a_mark_it_is_one_word(self) -> None:
        assert [NO_SUSPICION.word, NO_SUSPICION.given_back] == ["dirty", "clean"]
        assert [DOUBT.word, DOUBT._replace(doubt=False).word] == ["doubt:1", "dirty:1"]
        assert [read_suspicion(word) for word in ("clean", "dirty", "doubt:1")] == [
            NO_SUSPICION,
            NO_SUSPICION,
            DOUBT,
        ]

    @pytest.mark.parametrize(
        "word",
        [
            "", "Dirty", "doubt", "doubt:0", "dirty:10", "clean:",
            "alone", "alone:", "alone:7", "alone:7:0", "alone:7:10", "alone:-7:1",
            "alone:7:1:", "alone:7:1:7:2", "alone:\u0667:1", f"alone:{MOST + 1}:1", "tried:7:1",
            "crashed" + ":1:1" * MARKS + ":2:1",
        ],
    )  # fmt: skip
    def test_damaged_or_foreign_words_say_nothing(self, word: str) -> None:
        assert read_suspicion(word) is None

    def test_the_longest_text_is_taken_by_the_broker(self) -> None:
        crashes = tuple((MOST - n, 9) for n in range(MARKS))
        steps = Random(3).choices(range(1, 100), k=4_000)
        bounds = list(accumulate(steps, initial=MOST - sum(steps)))
        runs, upto = pack(bounds, ROOM)
        group = "a" * 249
        note = Note(MOST, runs, upto, whole=True, topic_id="t" * 22, epoch=2**31 - 1)
        marked = note._replace(suspicion=crashed(*crashes))

        text = marked.text(f"{group}.{'f' * 16}.{'f' * 8}", clean=False)

        assert len(runs) > ROOM * 0.9
        assert len(text) < 4_096

    def test_of_too_many_marks_those_with_the_fewest_crashes_go(self) -> None:
        told = crashed((1, 2), (2, 1), (3, 2), (4, 2)).rests()

        assert told.tries(9).crashes == ((9, 1), (1, 2), (3, 2), (4, 2))

    def test_a_try_that_ended_nothing_is_taken_back(self) -> None:
        told = crashed((7, 1)).rests()

        assert told.tries(7).forgives() == told
        assert DOUBT.tries(7).forgives() == DOUBT
        assert told.forgives() == told


def stood(suspicion: Suspicion, *, clean: bool = False, above: Above | None = None) -> Metadata:
    return Metadata(clean, "t", None, None, above or Above(), suspicion)


class TestConcluding:
    def test_the_first_that_vanishes_leaves_a_doubt(self) -> None:
        found = conclude(5, stood(NO_SUSPICION))

        assert (found.vanished, found.alone, found.suspicion) == (True, False, DOUBT)

    def test_each_one_more_has_four_times_as_much_run_apart_and_the_fourth_alone(self) -> None:
        growth, alone, found = [], [], conclude(5, stood(NO_SUSPICION))
        for _ in range(4):
            growth.append(found.suspicion.growth)
            alone.append(found.alone)
            # What was cleared meanwhile was not all that may have been running.
            found = conclude(5, stood(found.suspicion._replace(doubt=False)))

        assert growth == [1, 4, 16, 1]
        assert alone == [False, False, False, True]
        assert found.suspicion == Suspicion(doubt=True, rounds=5)

    def test_who_gives_it_back_before_all_of_that_has_ended_tells_so(self) -> None:
        note = Note(5, "-", 5, whole=True, topic_id=None, epoch=None, suspicion=DOUBT)

        metadata = read(note.text("t", clean=True), 5)
        found = conclude(5, metadata)

        assert metadata is not None
        assert metadata.clean
        assert (found.vanished, found.alone, found.suspicion) == (True, False, DOUBT)

    def test_one_that_vanishes_while_it_tries_a_job_counts(self) -> None:
        found = conclude(5, stood(crashed((7, 2))))

        assert found.alone
        assert found.suspicion == crashed((7, 2)).rests()._replace(rounds=ALONE_FROM + 1)

    def test_whoever_vanishes_before_it_tries_it_does_not_count_once_more(self) -> None:
        told = crashed((7, 2)).rests()

        assert conclude(5, stood(told)).suspicion.crashes == told.crashes

    @pytest.mark.parametrize("who", ["ours", "lives"])
    def test_who_lost_the_partition_and_lives_was_not_ended_by_it(self, who: str) -> None:
        told = crashed((7, 2), (9, 1))

        found = conclude(5, stood(told), **{who: True})

        assert found.suspicion == crashed((7, 1), (9, 1)).rests()

    def test_our_own_partition_is_no_less_suspect_than_before(self) -> None:
        assert conclude(5, stood(DOUBT), ours=True) == Committed(
            5, stood(DOUBT), vanished=True, suspicion=DOUBT
        )
        assert conclude(5, stood(NO_SUSPICION), ours=True) == Committed(5, stood(NO_SUSPICION))

    def test_given_back_in_order_nothing_counts(self) -> None:
        marked = crashed((7, 2))
        note = Note(5, "-", 5, whole=True, topic_id=None, epoch=None, suspicion=marked)

        found = conclude(5, read(note.text("t", clean=True), 5))

        assert (found.suspicion.crashes, found.alone) == ((), False)
        assert conclude(5, stood(NO_SUSPICION, clean=True)).suspicion == NO_SUSPICION

    def test_a_mark_on_a_record_that_is_complete_is_void(self) -> None:
        marked = crashed((3, 2), (6, 2), (7, 2))

        found = conclude(5, stood(marked, above=Above((5, 6, 7))))

        assert found.suspicion.crashes == ((7, 2),)


class Permit:
    """Counts who holds it."""

    def __init__(self) -> None:
        self.held = 0

    def acquire(self, blocking: bool = True) -> bool:
        assert not blocking
        taken, self.held = not self.held, 1
        return taken

    def release(self) -> None:
        assert self.held
        self.held = 0


class Owner:
    """An engine that owns shards, and what runs of it."""

    def __init__(self, *suspicions: Suspicion, permit: Permit | None = None) -> None:
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), {MAIN: "T"})
        self.engine = Engine(ladder, permit=permit)
        self.now = 0.0
        self.engine.assigned([(t, n) for t in (MAIN, SHORT, LONG) for n in range(len(suspicions))])
        for number in self.engine.take_questions():
            found = conclude(0, stood(suspicions[number]))
            self.engine.taken(number, {MAIN: found}, {SHORT: 0, LONG: 0}, self.now)
        self.engine.take_flow()

    def receive(self, *offsets: int, shard: int = 0, key: bytes | None = None) -> None:
        batch = [FakeMessage(MAIN, n, key or b"k%d" % n, partition_=shard) for n in offsets]
        self.engine.received(batch, self.now)

    def turn(self, *, commit: bool = True) -> list[Run]:
        """Let time pass, commit, and return what is to be run."""
        self.now += 0.01
        self.engine.tick(self.now)
        if commit:
            self.commit()
        return self.engine.take_starts()

    def commit(self) -> Cycle | None:
        cycle = self.engine.cycle()
        if cycle is not None:
            self.engine.committed(cycle)
        return cycle

    def end(self, runs: Sequence[Run], result: Result | None = None) -> None:
        records = [record for run in runs for record in run]
        for record in records:
            record.result = result
        self.engine.finished(records, self.now)

    def told(self, shard: int = 0) -> str:
        return self.engine.standing[MAIN, shard].suspicion.word


def offsets(runs: Sequence[Run]) -> list[list[int]]:
    return [[record.offset for record in run] for run in runs]


def tried(owner: Owner) -> Record:
    """The one that is being tried alone."""
    ((record,),) = owner.turn()
    return record


class TestTryingAlone:
    def test_after_one_that_vanished_suspects_run_beside_each_other(self) -> None:
        owner = Owner(NO_SUSPICION)
        owner.receive(0, 1)

        runs = owner.turn()

        assert offsets(runs) == [[0], [1]]
        assert all(run[0].suspect for run in runs)
        assert owner.told() == "doubt:1"

    def test_after_two_each_waits_until_its_mark_is_committed_and_the_last_has_ended(self) -> None:
        owner = Owner(THREE)
        owner.receive(0, 1)

        assert owner.turn(commit=False) == []
        assert owner.engine.alone.marks
        first = owner.turn()
        assert offsets(first) == [[0]]
        assert owner.told() == "alone:0:1"
        assert owner.turn() == []
        owner.end(first)
        assert owner.turn(commit=False) == []
        assert owner.told() == "alone:0:1"
        assert offsets(owner.turn()) == [[1]]
        assert owner.told() == "alone:1:1"

    def test_what_is_no_suspect_runs_on(self) -> None:
        owner = Owner(THREE, Suspicion())
        owner.engine.ended(MAIN, 1, 0, 0.0)
        owner.receive(0, 1)
        owner.receive(0, 1, shard=1)

        runs = owner.turn()

        assert offsets(runs) == [[0], [1], [0]]
        assert [run[0].log.partition for run in runs] == [1, 1, 0]

    def test_suspects_of_two_shards_are_not_tried_at_a_time(self) -> None:
        owner = Owner(THREE, DOUBT)
        owner.receive(0)
        owner.receive(0, shard=1)

        first = owner.turn()
        assert offsets(first) == [[0]]
        assert (owner.told(0), owner.told(1)) == ("alone:0:1", "doubt:2")
        assert owner.turn() == []
        owner.end(first)
        assert owner.turn(commit=False) == []
        assert offsets(owner.turn()) == [[0]]
        assert (owner.told(0), owner.told(1)) == ("doubt:4", "alone:0:1")

    def test_nor_those_of_two_queues_of_one_process(self) -> None:
        permit = Permit()
        one, other = Owner(THREE, permit=permit), Owner(THREE, permit=permit)
        one.receive(0)
        other.receive(0)

        first = one.turn()
        assert (len(first), other.turn()) == (1, [])
        one.end(first)
        # its mark stands until the next commit: should the worker vanish, it would count
        assert other.turn() == []
        assert one.engine.alone.marks
        one.turn()
        assert one.told() == "doubt:4"
        one.turn(commit=False)

        assert len(other.turn()) == 1

    def test_queues_take_turns_in_trying(self) -> None:
        permit = Permit()
        queues = [Owner(THREE, permit=permit) for _ in range(2)]
        for queue in queues:
            queue.receive(0, 1, 2)

        order = []
        for _ in range(20):
            for number, queue in enumerate(queues):
                if runs := queue.turn():
                    order.append(number)
                    queue.end(runs)

        assert order == [0, 1, 0, 1, 0, 1]
        assert not permit.held

    def test_a_queue_that_owns_nothing_more_lets_others_try(self) -> None:
        permit = Permit()
        owner = Owner(THREE, permit=permit)
        owner.receive(0)
        owner.end(owner.turn())

        owner.engine.revoked([(topic, 0) for topic in (MAIN, SHORT, LONG)])

        assert not permit.held

    def test_the_followers_of_one_that_is_tried_come_after_it_in_order(self) -> None:
        owner = Owner(THREE)
        owner.receive(0, 1, 2, key=b"k")

        order = []
        for _ in range(3):
            record = tried(owner)
            order.append(record.offset)
            owner.end([[record]])

        assert order == [0, 1, 2]
        owner.commit()
        assert owner.engine.standing[MAIN, 0].offset == 3

    @pytest.mark.parametrize("result", [RELEASED, INTERRUPTED])
    def test_one_that_was_not_run_to_its_end_is_not_counted(self, result: Result) -> None:
        owner = Owner(THREE)
        owner.receive(0)
        record = tried(owner)

        owner.end([[record]], result)
        owner.commit()

        assert owner.told() == "doubt:4"
        assert tried(owner) is record
        assert owner.told() == "alone:0:1"

    def test_what_is_given_back_before_it_begins_is_not_counted(self) -> None:
        owner = Owner(THREE)
        owner.receive(0)
        owner.turn(commit=False)

        owner.engine.withhold([0])
        owner.commit()

        assert owner.told() == "doubt:4"
        assert owner.turn() == []

    def test_when_its_shard_is_taken_away_another_ones_turn_comes(self) -> None:
        owner = Owner(THREE, DOUBT, permit=Permit())
        owner.receive(0)
        owner.receive(0, shard=1)
        owner.turn()

        owner.engine.revoked([(topic, 0) for topic in (MAIN, SHORT, LONG)])

        assert [run[0].log.partition for run in owner.turn()] == [1]

    def test_what_ended_a_child_before_runs_on_when_the_shard_in_doubt_is_taken_away(self) -> None:
        # Given a shard in doubt, and one of which a job waits to be tried, for what its headers say
        owner = Owner(THREE, Suspicion())
        tell = [(topic, 1) for topic in (MAIN, SHORT, LONG)]
        owner.engine.revoked(tell)
        owner.engine.assigned(tell)
        take(owner.engine, committed={MAIN: Committed(4)}, ends={SHORT: 1})
        told = (("sj-origin", b"T:1:3"), ("sj-attempt", b"2"), ("sj-crashes", b"1"))
        owner.receive(0)
        first = owner.turn()
        message = FakeMessage(SHORT, 0, b"k", partition_=1, headers_=told)
        owner.engine.received([message], 100.0)
        assert (offsets(first), owner.turn()) == ([[0]], [])

        # When the shard in doubt is somebody else's
        owner.engine.revoked([(topic, 0) for topic in (MAIN, SHORT, LONG)])

        # Then it runs
        assert [run[0].log.topic for run in owner.turn()] == [SHORT]

    def test_what_was_given_back_before_it_began_is_not_among_those_that_were_tried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alone, "TRIED", 2)
        monkeypatch.setattr(alone, "TRIED_FOR", 0.0)
        owner = Owner(THREE)
        owner.receive(0, 1, 2)

        for _ in range(4):
            owner.end([[tried(owner)]], RELEASED)

        assert len(owner.turn()) == 1

    def test_nor_among_those_that_have_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(alone, "RAN", 3)
        owner = Owner(NO_SUSPICION)
        owner.receive(0, 1, 2, 3)
        owner.end(owner.turn(), RELEASED)
        owner.engine.clear()
        owner.commit()
        assert owner.told() == "doubt:1"

        owner.end(owner.turn()[1:])
        owner.engine.clear()
        owner.commit()

        assert owner.told() == "dirty:1"

    def test_once_enough_was_tried_the_rest_runs_beside_each_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alone, "TRIED", 2)
        monkeypatch.setattr(alone, "TRIED_FOR", 0.0)
        owner = Owner(THREE)
        owner.receive(0, 1, 2, 3)
        for _ in range(2):
            owner.end([[tried(owner)]])

        runs = owner.turn()
        assert offsets(runs) == [[2], [3]]
        assert all(run[0].suspect for run in runs)
        owner.commit()
        assert owner.told() == "doubt:4"
        monkeypatch.setattr(alone, "RAN", 2)
        owner.engine.clear()
        owner.commit()
        assert owner.told() == "dirty:4"

    def test_when_all_that_was_there_has_ended_nothing_is_in_doubt(self) -> None:
        owner = Owner(NO_SUSPICION)
        owner.receive(0)
        owner.engine.ended(MAIN, 0, 1, 0.0)
        runs = owner.turn()
        assert owner.told() == "doubt:1"

        owner.end(runs)
        owner.commit()

        assert owner.told() == "dirty"
        owner.receive(1)
        assert [run[0].suspect for run in owner.turn()] == [False]

    def test_nor_is_anything_where_the_end_is_told_after_the_first_commit(self) -> None:
        owner = Owner(NO_SUSPICION)
        owner.turn()
        assert owner.told() == "doubt:1"

        for topic in (MAIN, SHORT, LONG):
            owner.engine.ended(topic, 0, 0, 0.0)
        owner.commit()

        assert owner.told() == "dirty"
        assert {note.suspicion.word for note in owner.engine.standing.values()} == {"dirty"}


def crashed(*pairs: tuple[int, int]) -> Suspicion:
    return Suspicion(doubt=True, crashes=pairs, trying=True, rounds=ALONE_FROM)


class TestInferring:
    def test_one_that_ended_its_worker_alone_is_tried_again_first_and_counted(self) -> None:
        owner = Owner(crashed((1, 1)))
        owner.receive(0, 1)

        record = tried(owner)

        assert record.offset == 1
        assert owner.told() == "alone:1:2"
        assert record.delivery is not None
        assert (record.delivery.attempts, record.delivery.crashes) == (0, 1)

    def test_at_the_third_it_is_dead_and_not_run_and_its_key_goes_on(self) -> None:
        owner = Owner(crashed((0, 3)))
        owner.receive(0, 1, key=b"k")

        owner.engine.tick(1.0)
        cycle = owner.commit()

        assert cycle is not None
        (move,) = cycle.moves
        assert (move.topic, move.reason, move.record.offset) == (DLQ, Reason.CRASHED, 0)
        assert (move.delivery.attempts, move.delivery.crashes) == (1, 3)
        assert move.failure is not None
        assert "the whole worker ended 3 times while it ran this job alone" in move.failure.message
        assert tried(owner).offset == 1

    def test_when_it_fails_it_moves_with_the_sum_and_without_a_mark(self) -> None:
        owner = Owner(crashed((0, 2)))
        owner.receive(0)

        owner.end([[tried(owner)]], FAILED)
        cycle = owner.commit()

        assert cycle is not None
        (move,) = cycle.moves
        assert (move.reason, move.delivery.attempts, move.delivery.crashes) == ("failed", 1, 2)
        assert owner.told() == "doubt:5"

    def test_a_crash_that_is_seen_is_added(self) -> None:
        owner = Owner(crashed((0, 2)))
        owner.receive(0)

        owner.end([[tried(owner)]], SEEN)

        cycle = owner.commit()
        assert cycle is not None
        (move,) = cycle.moves
        assert (move.topic, move.delivery.crashes) == (DLQ, 3)

    def test_what_its_headers_tell_is_added(self) -> None:
        owner = Owner(NO_SUSPICION)
        owner.engine.revoked([(topic, 0) for topic in (MAIN, SHORT, LONG)])
        owner.engine.assigned([(topic, 0) for topic in (MAIN, SHORT, LONG)])
        base = {MAIN: Committed(4), SHORT: conclude(0, stood(crashed((0, 1))))}
        take(owner.engine, committed=base, ends={SHORT: 1})
        told = (("sj-origin", b"T:0:3"), ("sj-attempt", b"2"), ("sj-crashes", b"2"))

        owner.engine.received([FakeMessage(SHORT, 0, b"k", headers_=told)], 100.0)
        owner.engine.tick(100.0)

        cycle = owner.commit()
        assert cycle is not None
        assert [(m.topic, m.delivery.crashes) for m in cycle.moves] == [(DLQ, 3)]

    def test_it_stays_marked_when_the_rest_is_cleared(self) -> None:
        owner = Owner(crashed((5, 2)))
        owner.receive(0)
        owner.engine.clear()
        owner.receive(5)

        record = tried(owner)

        assert record.offset == 5
        assert owner.told() == "alone:5:3"

    def test_a_record_of_a_later_leader_is_another_one(self) -> None:
        owner = Owner()
        owner.engine.assigned([(topic, 0) for topic in (MAIN, SHORT, LONG)])
        found = conclude(0, stood(crashed((0, 3))))
        assert found.metadata is not None
        then = Metadata(
            clean=False, transactional_id="t", epoch=4, suspicion=found.metadata.suspicion
        )
        take(owner.engine, committed={MAIN: found._replace(metadata=then)})

        message = FakeMessage(MAIN, 0, b"k", epoch=5)
        owner.engine.received([message], 0.0)

        record = tried(owner)
        assert record.delivery is None
