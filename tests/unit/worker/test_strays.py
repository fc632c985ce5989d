"""Offsets that a log does not have: where it goes on, what is told, and when nobody knows."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from streamjobs.kafka.aside import Stray
from streamjobs.worker.strays import BEGINNING, RETRY, Partition, Strays

MAIN: Partition = ("shop.mail", 3)


@dataclass
class Scene:
    """A broker that answers what it is set to, and a consumer that notes where it is sent."""

    marks_: tuple[int, int] | None = (10, 20)
    another: bool | None = False
    from_earliest: bool = False
    heard: bool = True
    deleted: list[Partition] = field(default_factory=list)
    sought: list[tuple[Partition, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.strays = Strays(
            "shop.mail", self, lambda _: self.another, self.from_earliest, self.hear
        )

    def hear(self, partition: Partition) -> bool:
        self.deleted.append(partition)
        return self.heard

    def marks(self, partition: Partition) -> tuple[int, int] | None:
        assert partition == MAIN
        return self.marks_

    def seek(self, partition: Partition, offset: int) -> None:
        self.sought.append((partition, offset))

    def find(self, offset: int, now: float = 0.0, cut: int | None = None) -> int:
        return self.strays.find([Stray(*MAIN, offset, cut)], now)


def test_deleted_records_are_counted_and_told_and_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    assert scene.find(4) == 6
    assert scene.sought == [(MAIN, 10)]
    assert "offsets 4 to 9 of shop.mail[3] were deleted before their jobs were done" in caplog.text
    assert "up to 6 jobs" in caplog.text
    assert scene.deleted == [MAIN]
    assert scene.strays.troubles == []
    assert not scene.strays.open


def test_it_does_not_go_on_before_somebody_has_taken_note_of_what_was_deleted() -> None:
    scene = Scene(heard=False)
    assert scene.find(4) == 0
    assert (scene.sought, scene.strays.open) == ([], True)
    scene.heard = True
    assert scene.strays.find([], RETRY) == 6
    assert scene.sought == [(MAIN, 10)]


def test_where_a_broker_is_silent_it_is_asked_once_and_the_others_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given partitions whose records were deleted, of which the first one's broker is silent
    scene, asked = Scene(), list[int]()

    def marks(partition: Partition) -> tuple[int, int] | None:
        asked.append(partition[1])
        return None if partition[1] < 2 else (10, 20)

    monkeypatch.setattr(scene, "marks", marks)
    strays = [Stray("shop.mail", number, 4) for number in range(4)]

    # Then each time the loop waits for one answer that does not come, and no other waits for it
    found = [scene.strays.find(strays, 0.0)]
    found += [scene.strays.find([], RETRY * turn) for turn in range(1, 4)]
    assert asked == [0, 1, 2, 3, 0, 1]
    assert found == [0, 0, 12, 0]
    assert sorted(scene.sought) == [(("shop.mail", 2), 10), (("shop.mail", 3), 10)]


def test_beyond_the_end_it_stands_still_and_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    assert scene.find(50) == 0
    assert scene.sought == []
    (why,) = scene.strays.troubles
    for part in ("shop.mail[3] stands still", "ends at 20", "offset 50", "--from earliest"):
        assert part in why
    assert why in caplog.text
    # and is asked no more, until it is somebody else's
    assert not scene.strays.open
    scene.strays.forget([MAIN])
    assert scene.strays.troubles == []


def test_beyond_the_end_it_begins_anew_when_it_may(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(from_earliest=True)
    assert scene.find(50) == 0
    assert scene.sought == [(MAIN, BEGINNING)]
    assert "finished jobs run again" in caplog.text


def test_of_a_topic_that_was_made_again_it_reads_the_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene(another=True, marks_=(0, 2))
    assert scene.find(50) == 0
    assert scene.sought == [(MAIN, BEGINNING)]
    assert "was deleted and made again" in caplog.text


@pytest.mark.parametrize("silent", ["marks", "id"])
def test_without_an_answer_it_asks_again(silent: str) -> None:
    # given a broker that does not answer
    scene = Scene(None) if silent == "marks" else Scene(another=None)
    assert scene.find(50) == 0
    assert (scene.sought, scene.strays.troubles, scene.strays.open) == ([], [], True)
    # when it does, then it is asked again after a while, and not before
    scene.marks_, scene.another = (10, 20), False
    told = []
    for now in (RETRY / 2, RETRY):
        scene.strays.find([], now)
        told.append((scene.strays.open, len(scene.strays.troubles)))
    assert told == [(True, 0), (False, 1)]


def test_an_offset_that_is_there_by_now_is_read_and_told(caplog: pytest.LogCaptureFixture) -> None:
    # given a leader that had not heard of it yet, or a log that was cut off and has grown again
    scene = Scene()
    assert scene.find(20) == 0
    assert scene.sought == [(MAIN, 20)]
    assert "shop.mail[3] did not have offset 20, and has it by now" in caplog.text


@pytest.mark.parametrize("from_earliest", [False, True])
def test_a_log_that_was_cut_off_and_has_grown_again_stands_still(*, from_earliest: bool) -> None:
    # given a log that has all offsets by now, and a client that knows that it was cut off at 12
    scene = Scene(from_earliest=from_earliest)
    assert scene.find(0, cut=12) == 0
    # then nothing is read on, and it is said from where on others stand there
    assert scene.sought == []
    (why,) = scene.strays.troubles
    for part in ("shop.mail[3] stands still", "cut off at 12", "ends at 20", "--to-offset 12"):
        assert part in why
    assert not scene.strays.open


def test_a_topic_that_was_made_again_is_not_taken_for_one_that_was_cut_off() -> None:
    scene = Scene(another=True)
    assert scene.find(0, cut=12) == 0
    assert scene.sought == [(MAIN, BEGINNING)]
    assert scene.strays.troubles == []
