"""What is told beside a committed offset, and that the next owner acts on it."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Mapping
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.drive import FAILED, LONG, MAIN, SHORT, TOPICS, Driver, FakeMessage, origin, take

from streamjobs.engine import cycles
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import (
    ROOM,
    Above,
    Committed,
    Metadata,
    Note,
    pack,
    read,
    unpack,
)
from streamjobs.engine.watermark import Watermark

IDS = {MAIN: "main-id", SHORT: "short-id", LONG: "long-id"}
# Scattered, so that where they stand takes room to tell.
BUSY = set(Random(3).sample(range(1, 199), 80))
SCATTERED = [0, *accumulate(Random(3).choices(range(1, 4), k=99), initial=1)]
SHARD = [(topic, 0) for topic in (MAIN, SHORT, LONG)]

bounds_of = st.lists(st.integers(1, 300), min_size=2, max_size=60).map(
    lambda steps: [7 + sum(steps[:n]) for n in range(len(steps) // 2 * 2 + 1)]
)


def text(offset: int, bounds: list[int], epoch: int | None = 0, topic_id: str = "main-id") -> str:
    runs, upto = pack(bounds, ROOM)
    note = Note(offset, runs, upto, upto == bounds[-1], topic_id, epoch)
    return note.text("shop.mail.ab", clean=False)


class TestText:
    @given(bounds_of, st.booleans())
    def test_what_is_written_is_read(self, bounds: list[int], clean: bool) -> None:
        runs, upto = pack(bounds, ROOM)

        told = Note(7, runs, upto, whole=True, topic_id="topic-id", epoch=3).text(
            "shop.mail.ab", clean=clean
        )

        assert told.isascii()
        assert told.isprintable()
        expected = Metadata(clean, "shop.mail.ab", "topic-id", 3, Above(tuple(bounds)))
        assert read(told, 7) == expected

    @given(bounds_of, st.integers(8, 60))
    def test_what_does_not_fit_is_left_out_from_the_top(self, bounds: list[int], room: int) -> None:
        whole = Above(tuple(bounds))

        runs, upto = pack(bounds, room)

        assert len(runs) <= room
        above = unpack(runs, 7)
        for offset in range(7, bounds[-1] + 3):
            assert above.complete(offset) == (offset < upto and whole.complete(offset))

    @pytest.mark.parametrize(
        "words",
        [
            "",
            "checkpoint 17",
            "sj2 dirty - - - - -",
            "sj1 dirty - - - -",
            "sj1 tidy - - - - -",
            "sj1 dirty - - x - -",
            "sj1 dirty - - - 9 !!!",
            "sj1 dirty - - - 9 eJwDAAAAAAE=",
            "sj1 dirty - - - 9 AAAA",
            "a" * 5_000,
            "\x00" * 40,
        ],
    )
    def test_what_is_not_ours_or_damaged_says_nothing(self, words: str) -> None:
        assert read(words, 7) is None

    @given(bounds_of, st.integers(0, 600))
    def test_beside_another_offset_than_its_own_it_says_nothing(
        self, bounds: list[int], offset: int
    ) -> None:
        beside = read(text(7, bounds), offset)

        assert (beside is None) == (offset != 7 and len(bounds) > 1)

    def test_a_text_cut_short_anywhere_says_nothing_wrong(self) -> None:
        whole = text(7, [7, 9, 20, 25, 400])

        for end in range(len(whole)):
            cut = read(whole[:end], 7)
            assert cut is None or cut.above == Above()

    def test_a_bomb_is_not_unpacked(self) -> None:
        bomb = base64.b64encode(zlib.compress(b"\x01" * 300_000_000, 9)).decode()

        began = time.perf_counter()
        assert read(f"sj1 dirty - - - 9 {bomb}", 7) is None
        assert time.perf_counter() - began < 5


@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=60),
    steps=st.lists(st.integers(1, 4), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_bounds_tell_exactly_what_is_complete(
    gaps: list[int], steps: list[int], order: object
) -> None:
    # given what the last owner told, some records since, and some of those complete
    told = [10 + sum(steps[:n]) for n in range(len(steps) // 2 * 2 + 1)]
    watermark = Watermark()
    watermark.position = 10
    watermark.inherited = inherited = Above(tuple(told) if len(told) > 1 else ())
    records = [9 + sum(gaps[: n + 1]) for n in range(len(gaps))]
    news = [offset for offset in records if not inherited.complete(offset)]
    if news:
        watermark.received(news)
    watermark.ended(records[-1] + 1)
    done = {o for o in news if order.random() < 0.5}  # type: ignore[attr-defined]
    for offset in done:
        watermark.complete(offset)

    # then the next owner knows of each offset what is known here
    def complete(offset: int) -> bool:
        if offset > records[-1]:
            return inherited.complete(offset)
        return offset not in news or offset in done

    committed = watermark.advance()
    above = Above(tuple(watermark.bounds()))
    assert committed == next(o for o in range(10, 10_000) if not complete(o))
    for offset in range(committed, committed + 80):
        assert above.complete(offset) == complete(offset)


def test_what_ended_above_a_long_job_is_weeded_out() -> None:
    watermark = Watermark()
    watermark.received(range(100_000))
    for offset in range(1, 100_000):
        watermark.complete(offset)

    assert watermark.advance() == 0
    assert len(watermark._pending) == 1
    assert watermark.bounds() == [0, 1, 100_000] or watermark.bounds() == [0]


def new_owner(stood: Mapping[str, Committed | None], ends: dict[str, int] | None = None) -> Driver:
    ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), IDS)
    driver = Driver(Engine(ladder))
    driver.engine.assigned(SHARD)
    take(driver.engine, committed=stood, ends=ends)
    return driver


def committed(driver: Driver, topic: str = MAIN) -> Committed:
    """What the driver's next commit tells of a topic."""
    cycle = driver.engine.cycle()
    assert cycle is not None
    driver.engine.committed(cycle)
    note = cycle.notes[topic, 0]
    return Committed(note.offset, read(note.text(None, clean=False), note.offset))


class TestHandOver:
    def test_what_is_complete_above_the_offset_does_not_run_again(self) -> None:
        # given one owner with a job that goes on, and jobs after it that ended or failed
        first = new_owner({MAIN: None})
        first.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(5)))
        first.finish(1)
        first.finish(2, FAILED)
        stood = committed(first)
        assert stood.offset == 0

        # when it dies
        second = new_owner({MAIN: stood})
        second.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(6)))

        # then the next one runs the rest
        assert [offset for _, offset in second.started] == [0, 3, 4, 5]
        for offset in (0, 3, 4, 5):
            second.finish(offset)
        assert committed(second).offset == 6

    def test_it_is_passed_on_by_an_owner_who_has_not_come_so_far(self) -> None:
        stood = Committed(7, read(text(7, [7, 9, 20, 25, 400]), 7))
        second = new_owner({MAIN: stood})
        second.receive(FakeMessage(MAIN, 7))
        second.finish(7)

        third = new_owner({MAIN: committed(second)})
        third.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in (8, 9, 19, 20, 24, 25, 399, 400)))

        assert [offset for _, offset in third.started] == [8, 20, 24, 400]

    def test_a_record_of_a_tier_that_is_complete_is_not_outstanding(self) -> None:
        # given a tier whose second record was carried on, and its first was not
        metadata = read(text(0, [0, 1, 2], topic_id="short-id"), 0)
        stood = {MAIN: Committed(2, None), SHORT: Committed(0, metadata)}
        second = new_owner(stood, ends={SHORT: 2})

        second.receive(
            FakeMessage(SHORT, 0, b"a", headers_=origin(0)),
            FakeMessage(SHORT, 1, b"b", headers_=origin(1)),
        )
        second.engine.ended(MAIN, 0, 2, 0.0)
        second.tick(2.0)

        assert second.started == [(SHORT, 0)]
        second.finish(0, topic=SHORT)
        assert committed(second, SHORT).offset == 2

    def test_what_came_before_it_was_known_where_the_shard_stands_is_judged_then(self) -> None:
        stood = Committed(0, read(text(0, [0, 1, 3]), 0))
        driver = new_owner({MAIN: None})
        driver.engine.revoked(SHARD)
        driver.engine.assigned(SHARD)
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(4)))
        assert driver.engine.cycle() is None

        take(driver.engine, committed={MAIN: stood})
        driver.begin()

        assert [offset for _, offset in driver.started] == [0, 3]

    def test_of_a_topic_that_was_made_again_nothing_counts(self) -> None:
        stood = Committed(100, read(text(100, [100, 101, 150], topic_id="older-id"), 100))

        driver = new_owner({MAIN: stood})

        assert driver.engine.take_flow().seek == [(MAIN, 0, -2)]
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(3)))
        assert [offset for _, offset in driver.started] == [0, 1, 2]

    def test_records_of_a_later_leader_stand_where_lost_ones_stood(self) -> None:
        stood = Committed(0, read(text(0, [0, 1, 5], epoch=4), 0))
        driver = new_owner({MAIN: stood})

        driver.receive(FakeMessage(MAIN, 0, b"a", epoch=4), FakeMessage(MAIN, 1, b"b", epoch=4))
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n, epoch=5) for n in (2, 3)))

        assert [offset for _, offset in driver.started] == [0, 2, 3]

    def test_what_is_read_again_across_a_change_of_leaders_stands_where_it_stood(self) -> None:
        # Given what was told after records of two leaders were received
        stood = Committed(0, read(text(0, [0, 1, 4], epoch=5), 0))
        driver = new_owner({MAIN: stood})

        # When they are received again, those of the earlier leader by themselves
        driver.receive(FakeMessage(MAIN, 0, b"a", epoch=4), FakeMessage(MAIN, 1, b"b", epoch=4))
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n, epoch=5) for n in (2, 3, 4)))

        # Then all that was told to be complete is, and the later leader is told again
        assert [offset for _, offset in driver.started] == [0, 4]
        cycle = driver.engine.cycle(everything=True)
        assert cycle is not None
        assert cycle.notes[MAIN, 0].epoch == 5

    @pytest.mark.parametrize("to", [0, 4, 8])
    def test_beside_an_offset_that_an_operator_set_the_older_text_says_nothing(
        self, to: int
    ) -> None:
        # Given what was told beside another offset: of its own ones all but two are complete
        told = text(2, [2, 3, 5, 6, 10])

        # When an operator has moved that one, and the text still stands beside it
        driver = new_owner({MAIN: Committed(to, read(told, to))})
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(to, 12)))

        # Then all from there on begins
        assert [offset for _, offset in driver.started] == list(range(to, 12))

    @pytest.mark.parametrize("gone", [SHARD, SHARD[-1:]])
    def test_an_offset_that_was_set_counts_for_an_owner_who_knew_more(
        self, gone: list[tuple[str, int]]
    ) -> None:
        # Given an owner who was told what is complete, and has completed more
        driver = new_owner({MAIN: Committed(7, read(text(7, [7, 9, 20]), 7))})
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(7, 24)))
        for offset in (8, 21, 22):
            driver.finish(offset)

        # When its partitions go and come, and the offset was set meanwhile
        driver.engine.revoked(gone)
        driver.engine.assigned(gone)
        take(driver.engine, committed={MAIN: 0})
        driver.engine.take_flow()
        driver.started.clear()
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(24)))

        # Then all from there on runs
        assert [offset for _, offset in driver.started] == list(range(24))


class TestRoom:
    @pytest.fixture(autouse=True)
    def little_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cycles, "ROOM", 24)

    def test_what_cannot_be_told_is_not_carried_on(self) -> None:
        # given more that ends out of order than can be told, the last of it a failure
        driver = new_owner({MAIN: None})
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(200)))
        for offset in set(range(1, 199)) - BUSY:
            driver.finish(offset)
        driver.finish(199, FAILED)

        # then its move waits
        cycle = driver.engine.cycle()
        assert cycle is not None
        assert cycle.moves == []
        assert not cycle.notes[MAIN, 0].whole
        driver.engine.committed(cycle)

        # until there is room
        for offset in {0, *BUSY}:
            driver.finish(offset)
        cycle = driver.engine.cycle()
        assert cycle is not None
        assert [move.record.offset for move in cycle.moves] == [199]
        assert cycle.offsets == {(MAIN, 0): 200}

    def test_no_more_of_main_is_fetched_meanwhile(self) -> None:
        driver = new_owner({MAIN: None})
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(200)))
        for offset in set(range(1, 199)) - BUSY:
            driver.finish(offset)
        driver.commit()

        driver.tick(0.1)
        assert driver.paused(MAIN)

        driver.finish_all()
        driver.commit()
        driver.tick(0.2)
        assert not driver.paused(MAIN)

    def test_as_much_is_told_as_there_is_room_for(self) -> None:
        # Given more that ends out of order than can be told
        first = new_owner({MAIN: None})
        first.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(200)))
        ended = set(range(1, 199)) - BUSY
        for offset in ended:
            first.finish(offset)
        stood = committed(first)
        assert stood.offset == 0

        # When it dies
        second = new_owner({MAIN: stood})
        second.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(200)))

        # Then the next one runs again of what had ended only what could not be told
        assert stood.metadata is not None
        upto = stood.metadata.above.upto
        again = {offset for _, offset in second.started} & ended
        assert again == {offset for offset in ended if offset >= upto}
        assert len(again) < len(ended) - 5

    def test_what_was_told_is_told_again_or_nothing_is(self) -> None:
        # Given what an owner with more room has told
        stood = Committed(0, read(text(0, SCATTERED), 0))
        driver = new_owner({MAIN: stood})

        # When something has ended, and there is less room
        end = SCATTERED[-1]
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(end)))
        driver.finish(max(offset for _, offset in driver.started))

        # Then nothing is committed that tells less, until all of it can be told
        assert driver.engine.cycle(everything=True) is None
        driver.finish_all()
        assert committed(driver).offset == end

    def test_what_the_last_owner_left_is_read_though_there_is_no_room(self) -> None:
        # Given what an owner with more room has told, and not all of it was read again
        driver = new_owner({MAIN: Committed(0, read(text(0, SCATTERED), 0))})
        driver.receive(*(FakeMessage(MAIN, n, b"k%d" % n) for n in range(20)))
        driver.finish(max(offset for _, offset in driver.started))
        driver.engine.cycle()

        # When time passes, then main is read on: what is incomplete there has to run for more room
        driver.tick(0.1)
        assert not driver.paused(MAIN)
