"""Taking shards: the order of the steps, and what is odd in what the last owner left."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from unit.engine.drive import LONG, MAIN, SHORT, TOPICS, FakeMessage

from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import ROOM, Note, pack, read
from streamjobs.engine.outbox import Partition
from streamjobs.engine.records import Run
from streamjobs.engine.results import Failed
from streamjobs.engine.suspicion import ALONE_FROM, NO_SUSPICION, Suspicion
from streamjobs.engine.taking import SUSPECTS
from streamjobs.headers import Failure
from streamjobs.kafka.aside import Stray
from streamjobs.kafka.failures import TEXT_TOO_LONG
from streamjobs.kafka.membership import CommitRefused
from streamjobs.kafka.standing import Ends, Stand, Stands
from streamjobs.worker.owners import is_gone, read_id, read_tried
from streamjobs.worker.strays import RETRY
from streamjobs.worker.taking import OffsetsMissing, Taking, Topics

SHARD: list[Partition] = [(topic, 0) for topic in (MAIN, SHORT, LONG)]
# Processes, as they stand in transactional ids.
FORMER, OURS = "0123456789abcdef", "fedcba9876543210"
IDS = {MAIN: "main-id", SHORT: "short-id", LONG: "long-id"}


class Scene:
    """A broker, a consumer and an engine in one diary."""

    def __init__(self, *, from_earliest: bool = False, drain: bool = False) -> None:
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), IDS)
        self.engine = Engine(ladder)
        me: Any = self
        topics = Topics("shop.mail", (SHORT, LONG), IDS, from_earliest, drain, IDS.get)
        self.taking = Taking(self.engine, me, me, topics)
        self.diary: list[Any] = []
        self.stood: dict[str, Stand] = {}
        self.high = 0
        self.log, self.silent = (0, 5), False
        self.refusals: list[Exception] = []
        self.members: frozenset[str] = frozenset()
        self._ready: list[Stands | Ends] = []
        self.held_up = False
        self.forgotten: set[int] = set()

    def stands(self, shards: Mapping[int, tuple[object, Sequence[Partition]]]) -> None:
        self.diary.append("stands")
        for number, (token, partitions) in shards.items():
            of = {t: self.stood.get(t, Stand(None)) for t, _ in partitions}
            self._ready.append(Stands(number, token, of, self.members))

    def ends(
        self,
        number: int,
        token: object,
        partitions: Sequence[Partition],
        ids: Sequence[str],
        *,
        gone: bool,
    ) -> None:
        self.gone = gone
        self.diary.append(("ends", *ids))
        self._ready.append(Ends(number, token, {topic: self.high for topic, _ in partitions}))

    def answers(self) -> list[Stands | Ends]:
        ready, self._ready = self._ready, []
        return ready

    def forget(self, numbers: Collection[int]) -> None:
        self.forgotten |= set(numbers)

    def later(self, answers: Sequence[Stands | Ends]) -> None:
        self._ready = [*answers, *self._ready]

    def offsets(self, texts: dict[Partition, tuple[int, str]]) -> Any:
        return {pair: text for pair, text in texts.items() if pair in self.engine.owned}

    def commit(self, offsets: dict[Partition, tuple[int, str]]) -> None:
        self.diary.append(("commit", offsets))
        if self.refusals:
            raise self.refusals.pop(0)

    def marks(self, partition: Partition) -> tuple[int, int] | None:
        return None if self.silent and partition[0] == LONG else self.log

    def seek(self, partition: Partition, offset: int) -> None:
        self.diary.append(("seek", partition, offset))

    def assigned(self) -> None:
        self.engine.assigned(SHARD)
        self.taking.begin(self.engine.take_questions())

    def go_on(self, *times: float, mine: str = "shop.mail.new") -> bool:
        vanished = [self.taking.go_on(mine, now) for now in times or (0.0, 0.0)]
        return True in vanished

    def started(self, *offsets: int) -> list[int]:
        return [run[0].offset for run in self.runs(*offsets)]

    def runs(self, *offsets: int) -> list[Run]:
        self.engine.take_flow()
        self.engine.received([FakeMessage(MAIN, n, b"k%d" % n) for n in offsets], 0.0)
        return self.engine.take_starts()


def left(
    offset: int,
    bounds: list[int],
    *,
    name: str = "shop.mail.old",
    clean: bool = False,
    suspicion: Suspicion = NO_SUSPICION,
) -> Stand:
    runs, upto = pack(bounds, ROOM)
    note = Note(offset, runs, upto, whole=True, topic_id=IDS[MAIN], epoch=0, suspicion=suspicion)
    return Stand(offset, note.text(name, clean=clean))


def kinds(scene: Scene) -> list[str]:
    return [each if isinstance(each, str) else each[0] for each in scene.diary]


def test_a_shard_is_claimed_after_its_offsets_are_stable_and_before_its_ends_are_asked() -> None:
    scene = Scene()
    scene.stood = {MAIN: left(4, [4, 5, 9])}
    scene.assigned()
    assert scene.started(4) == []

    scene.go_on()

    assert kinds(scene) == ["stands", "commit", "ends"]
    assert not scene.taking.busy
    assert scene.started(5, 9) == [4, 9]


def test_the_claim_says_whose_it_is_and_keeps_what_is_known() -> None:
    scene = Scene()
    scene.stood = {MAIN: left(4, [4, 5, 9])}
    scene.assigned()

    scene.go_on()

    offset, text = scene.diary[1][1][MAIN, 0]
    told = read(text, offset)
    assert offset == 4
    assert told is not None
    assert told.transactional_id == "shop.mail.new"
    assert told.topic_id == "main-id"
    assert told.above.bounds == (4, 5, 9)
    assert not told.clean
    assert scene.diary[2] == ("ends", "shop.mail.old")


def test_a_refused_claim_is_made_again_from_the_first_step() -> None:
    scene = Scene()
    scene.refusals = [CommitRefused("rebalance in progress")]
    scene.assigned()

    scene.go_on(0.0, 0.05)
    assert scene.taking.busy
    scene.go_on(0.2, 0.2, 0.2)

    assert kinds(scene) == ["stands", "commit", "stands", "commit", "ends"]
    assert scene.started(0) == [0]


def test_what_is_odd_is_told_once_however_often_its_claim_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.refusals = [CommitRefused("rebalance in progress")] * 3
    scene.stood = {
        MAIN: left(4, [], suspicion=TRIED),
        SHORT: Stand(4, "checkpoint 17"),
        LONG: Stand(
            4, Note(4, "-", 4, whole=True, topic_id="older", epoch=0).text(None, clean=True)
        ),
    }
    scene.assigned()

    scene.go_on(*(number * RETRY for number in range(8)))

    told = ("ran this job alone", "in a row have ended", "not of this program", "was deleted and")
    assert kinds(scene).count("commit") == 4
    assert [caplog.text.count(each) for each in told] == [1, 1, 1, 1]


def test_an_answer_about_an_assignment_that_is_over_does_nothing() -> None:
    # Given an answer that comes when its assignment is over, with offsets that have changed since
    scene = Scene()
    scene.stood = {MAIN: left(30, [30, 31, 90])}
    scene.assigned()
    late = scene.answers()
    scene.engine.revoked(SHARD)
    scene.stood = {MAIN: left(50, [50, 51, 60])}
    scene.assigned()
    news = scene.answers()

    # When it comes before the one that counts, and again after it
    for answers in (late, news, late):
        scene.later(answers)
        scene.go_on(0.0)

    # Then it does nothing, and the other one counts
    commits = [each[1][MAIN, 0][0] for each in scene.diary if each[0] == "commit"]
    assert commits == [50]
    scene.go_on()
    assert not scene.taking.busy
    assert scene.started(50, 55, 60) == [50, 60]


def test_without_an_offset_in_a_log_that_lost_its_beginning_it_asks_where_to_begin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.stood = {MAIN: Stand(None, None, 120)}
    scene.assigned()

    scene.go_on()

    assert scene.diary == ["stands"]
    (why,) = scene.taking.troubles
    assert re.search(r"partition 0 stands .* shop\.mail\[0\] begins at 120.*--from earliest", why)
    assert why in caplog.text
    assert not scene.taking.busy
    # And it is no trouble of ours when the partition is somebody else's
    scene.taking.forget([(MAIN, 0)])
    assert scene.forgotten == {0}
    assert scene.taking.troubles == []


def test_a_drain_that_does_not_know_where_to_begin_ends() -> None:
    scene = Scene(drain=True)
    scene.stood = {MAIN: Stand(None, None, 120)}
    scene.assigned()

    with pytest.raises(OffsetsMissing, match=r"shop\.mail\[0\] begins at 120.*--from earliest"):
        scene.go_on()


def test_it_begins_there_when_told_to() -> None:
    scene = Scene(from_earliest=True)
    scene.stood = {MAIN: Stand(None, None, 120)}
    scene.assigned()

    scene.go_on()

    assert scene.diary[1][1][MAIN, 0][0] == 120
    assert scene.started(120) == [120]


def test_a_topic_that_was_made_again_is_an_alarm_and_is_read_from_its_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    old = Note(100, "-", 100, whole=True, topic_id="older-id", epoch=0).text(None, clean=True)
    scene.stood = {MAIN: Stand(100, old)}
    scene.assigned()

    scene.go_on()

    assert "topic shop.mail was deleted and made again" in caplog.text
    assert scene.diary[1][1][MAIN, 0][0] == 0
    assert scene.engine.take_flow().seek == [(MAIN, 0, -2)]


def test_a_foreign_text_is_said_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.stood = {MAIN: Stand(4, "checkpoint 17")}
    scene.assigned()

    scene.go_on()

    assert "'checkpoint 17', which is not of this program" in caplog.text
    assert scene.diary[1][1][MAIN, 0][0] == 4
    assert scene.started(4, 5) == [4, 5]


@pytest.mark.parametrize(
    ("stand", "gone"),
    [
        (left(4, []), True),
        (left(4, [], clean=True), False),
        (left(4, [], name=f"shop.mail.{FORMER}.00000001"), True),
        (left(4, [], name=f"shop.mail.{OURS}.00000001"), False),
        (Stand(4, "checkpoint 17"), False),
    ],
    ids=["nameless", "given back", "another's", "our own", "not ours"],
)
def test_an_owner_is_gone_that_has_not_given_back_what_we_are_given(
    stand: Stand, *, gone: bool
) -> None:
    assert is_gone(stand.text or "", OURS) is gone

    scene = Scene()
    scene.stood = {MAIN: stand}
    scene.assigned()
    scene.go_on(mine=f"shop.mail.{OURS}.00000002")
    assert scene.gone is gone


def test_suspects_are_expected_as_soon_as_an_owner_seems_to_have_vanished() -> None:
    # where it has left a transaction open, its offsets are not known for a while
    scene = Scene()

    def expects() -> bool:
        return scene.taking.expects_suspects

    scene.stood = {MAIN: left(4, [])}
    scene.assigned()
    (stands,) = scene.answers()
    scene.go_on(0.0)
    assert not expects()
    scene.held_up = True
    scene.go_on(0.0)
    assert expects()

    # when that is over, they still are while it is claimed, and no more when it is taken
    scene.held_up = False
    scene.later([stands])
    scene.go_on(0.0)
    assert expects()
    scene.go_on(0.0)
    assert (expects(), scene.engine.alone.doubts) == (False, True)


@pytest.mark.parametrize(("clean", "expected"), [(False, True), (True, False)])
def test_suspects_are_expected_where_an_owner_is_found_to_have_vanished(
    *, clean: bool, expected: bool
) -> None:
    scene = Scene()
    scene.stood = {MAIN: left(4, [], clean=clean)}
    scene.assigned()
    scene.go_on(0.0)
    assert (scene.taking.busy, scene.taking.expects_suspects) == (True, expected)

    # and not any more where it is given to another
    scene.taking.forget(SHARD)
    assert not scene.taking.expects_suspects


def test_what_an_owner_that_vanished_may_have_been_running_is_suspect() -> None:
    scene = Scene()
    scene.stood = {MAIN: left(4, [4, 5, 9])}
    scene.assigned()

    assert scene.go_on()

    runs = scene.runs(4, 9 + SUSPECTS - 1, 9 + SUSPECTS)
    assert [run[0].suspect for run in runs] == [True, True, False]


@pytest.mark.parametrize(
    "stand",
    [
        left(4, [4, 5, 9], clean=True),
        left(4, [4, 5, 9], name="shop.mail.new"),
        Stand(4, "checkpoint 17"),
        Stand(None),
    ],
    ids=["given back", "our own", "not ours", "nobody's"],
)
def test_nothing_is_suspect_where_nobody_vanished(stand: Stand) -> None:
    scene = Scene()
    scene.stood = {MAIN: stand}
    scene.assigned()

    assert not scene.go_on()

    assert [run[0].suspect for run in scene.runs(9)] == [False]


@pytest.mark.parametrize("from_earliest", [False, True])
def test_an_offset_beyond_the_end_says_nothing_where_it_may_begin_anew(
    *, from_earliest: bool
) -> None:
    # given a main topic that ends before the group's offset
    scene = Scene(from_earliest=from_earliest)
    scene.high = 2
    scene.stood = {MAIN: Stand(1_000), SHORT: Stand(2), LONG: Stand(2)}
    # when it is taken, then that offset is where it stands, unless it may begin anew
    scene.assigned()
    scene.go_on()
    cycle = scene.engine.cycle(everything=True)
    offsets = {} if cycle is None else cycle.offsets
    assert (offsets.get((MAIN, 0)) == 1_000) is not from_earliest


TRIED = Suspicion(doubt=True, crashes=((4, 2),), trying=True, rounds=ALONE_FROM)


@pytest.mark.parametrize(
    ("members", "mine", "word"),
    [
        (frozenset(), f"shop.mail.{OURS}.00000002", "crashed:4:2"),
        ({"another"}, f"shop.mail.{OURS}.00000002", "crashed:4:2"),
        ({FORMER}, f"shop.mail.{OURS}.00000002", "crashed:4:1"),
        (frozenset(), f"shop.mail.{FORMER}.00000002", "crashed:4:1"),
    ],
    ids=["it is gone", "another lives", "it lives", "it is this process"],
)
def test_who_vanished_while_it_tried_a_job_alone_was_ended_by_it_unless_it_lives(
    members: frozenset[str], mine: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    stood = left(4, [4, 5, 9], name=f"shop.mail.{FORMER}.00000001", suspicion=TRIED)
    scene.stood = {MAIN: stood}
    scene.members = frozenset(members)
    scene.assigned()

    assert scene.go_on(mine=mine)

    assert scene.diary[1][1][MAIN, 0][1].split(" ")[1] == word
    times = {"2": "2 times", "1": "1 time"}[word[-1]]
    assert f"shop.mail[0] at offset 4: its worker ended while it ran this job alone, {times}" in (
        caplog.text
    )


def test_which_process_tried_a_job_stands_in_its_text() -> None:
    name = f"shop.mail.{FORMER}.00000001"

    texts = [
        left(4, [], name=name, suspicion=suspicion).text
        for suspicion in (TRIED, TRIED.rests(), Suspicion(doubt=True, rounds=2))
    ]

    assert [read_tried(text or "") for text in texts] == [FORMER, None, None]
    assert read_tried("checkpoint 17") is None
    assert read_tried(left(4, [], suspicion=TRIED).text or "") is None


@pytest.mark.parametrize("bounds", [[], [4, 5, 9]])
@pytest.mark.parametrize("offset", [0, 4])
def test_whose_a_text_is_can_be_read_whatever_it_tells_of_offsets(
    offset: int, bounds: list[int]
) -> None:
    """Who ends an open transaction, or asks whether an owner lives, has only the text."""
    name = f"shop.mail.{FORMER}.00000001"
    above = [each - 4 + offset for each in bounds]

    text = left(offset, above, name=name, suspicion=TRIED).text or ""

    assert (read_id(text), read_tried(text)) == (name, FORMER)


def test_a_claim_that_brokers_have_no_room_for_is_an_alarm_until_it_is_taken() -> None:
    scene = Scene()
    scene.refusals = [CommitRefused(TEXT_TOO_LONG)]
    scene.assigned()
    scene.go_on(0.0)
    (alarm,) = scene.taking.troubles
    assert "set offset.metadata.max.bytes=4096" in alarm
    scene.go_on(1.0, 1.0)
    assert scene.taking.troubles == []


def test_where_a_topic_was_made_again_its_old_offset_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a topic that was made again, whose group has an offset of the old one
    scene = Scene()
    old = Note(100, "-", 100, whole=True, topic_id="older-id", epoch=0).text(None, clean=True)
    scene.stood = {MAIN: Stand(100, old)}
    scene.assigned()

    # When the consumer says that its log does not have it before that is known, and after it
    scene.taking.find([Stray(MAIN, 0, 100)], 0.0)
    scene.go_on()
    scene.taking.sought([place[:2] for place in scene.engine.take_flow().seek])
    scene.taking.find([], 0.0)

    # Then it does not stand still: it is read from its beginning
    assert "stands still" not in caplog.text
    assert scene.taking.troubles == []

    # And what is not in the log later on is found out at once
    scene.taking.find([Stray(MAIN, 0, 100)], 1.0)
    (why,) = scene.taking.troubles
    assert "shop.mail[0] stands still: its log ends at 5, and offset 100" in why


def test_what_was_to_be_tried_again_is_not_once_it_was_taken() -> None:
    # Given a claim that was refused, and a shard that was given anew before it is made again
    scene = Scene()
    scene.refusals = [CommitRefused("rebalance in progress")]
    scene.assigned()
    scene.go_on(0.0)
    scene.engine.revoked(SHARD)
    scene.taking.forget(SHARD)
    scene.assigned()
    scene.go_on(0.01, 0.01)
    assert scene.started(0) == [0]

    # When its time comes
    scene.go_on(0.2, 0.2)

    # Then no older offset is committed of it
    assert kinds(scene) == ["stands", "commit", "stands", "commit", "ends"]


def test_an_answer_about_what_was_taken_away_meanwhile_commits_nothing() -> None:
    # Given a question that is answered after somebody else had the shard, before it is asked anew
    scene = Scene()
    scene.stood = {MAIN: left(4, [])}
    scene.assigned()
    scene.engine.revoked(SHARD)
    scene.taking.forget(SHARD)
    scene.engine.assigned(SHARD)

    scene.go_on(0.0, 0.0)

    assert kinds(scene) == ["stands"]
    assert not scene.taking.busy


def test_where_a_lost_retry_topic_ends_is_not_asked() -> None:
    # Given a shard that is whole without a retry topic that was deleted
    scene = Scene()
    scene.assigned()
    scene.go_on()
    scene.engine.lose([LONG])
    scene.log, scene.silent = (5, 5), True

    # When records of another one are deleted, then that one is read on
    assert scene.taking.strays.find([Stray(SHORT, 0, 0)], 0.0) == 5
    assert scene.diary[-1] == ("seek", (SHORT, 0), 5)


def test_when_records_of_a_retry_topic_are_deleted_their_keys_go_on() -> None:
    # Given a job that was moved to a retry topic, and one of its key behind it
    scene = Scene()
    scene.stood = {MAIN: Stand(0), SHORT: Stand(0), LONG: Stand(0)}
    scene.assigned()
    scene.go_on()
    ((record,),) = scene.runs(0)
    record.result = Failed(Failure("ValueError", "no", ""))
    scene.engine.finished([record], 0.0)
    cycle = scene.engine.cycle()
    assert cycle is not None
    scene.engine.committed(cycle)
    scene.engine.received([FakeMessage(MAIN, 1, b"k0")], 0.0)

    # When it is deleted there, and the broker says at last where all of them end
    scene.log = (5, 5)
    scene.silent = True
    gone = Stray(SHORT, 0, 0)
    assert scene.taking.strays.find([gone], 0.0) == 0
    scene.silent = False
    assert scene.taking.strays.find([], RETRY) == 5
    assert scene.diary[-1] == ("seek", (SHORT, 0), 5)

    # Then its key goes on when they were read to there
    for tier in (SHORT, LONG):
        assert scene.engine.take_starts() == []
        scene.engine.ended(tier, 0, 5, 0.0)
        scene.engine.tick(0.0)
    assert [run[0].offset for run in scene.engine.take_starts()] == [1]
