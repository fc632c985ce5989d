"""What a slot counts as run, with a child that says what it is told to."""

from __future__ import annotations

from typing import Any

import pytest
from unit.engine.drive import FAILED, MAIN, FakeMessage

from streamjobs.engine.records import Log, Record, Run
from streamjobs.engine.results import RELEASED, Failed
from streamjobs.executors import processes, slot
from streamjobs.executors.carry import write_result
from streamjobs.executors.frames import Unpacker, pack
from streamjobs.executors.processes import ProcessExecutor
from streamjobs.executors.slot import ChildRecipe, Slot

# Seconds that a child takes to import its app, and that a job runs.
START, RUNS = 60.0, 0.25


class Scene:
    """A pool, and the one slot of it that is looked at, in a time of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.says: list[tuple[float, bytes]] = []
        recipe = ChildRecipe([], "", lambda _: "", lambda *_: None)
        self.pool = ProcessExecutor(recipe, "test", processes=0)
        self.slot = Slot(self.pool, recipe, 30.0, "test-child")
        self.log = Log(MAIN, 0, None, 0)

    def run(self, count: int) -> Run:
        run = [Record(self.log, n, b"k", FakeMessage(MAIN, n)) for n in range(count)]
        self.slot._execute(run)
        return run

    def say(self, seconds: float, *frames: bytes) -> None:
        """After so many seconds a child says these; where it says nothing, its job is put off."""
        self.says.append((seconds, b"".join(frames)))


class FakeChild:
    def __init__(self, scene: Scene) -> None:
        self.scene, self.pid, self.ended = scene, 1, False

    def send(self, data: bytes) -> None:
        pass

    def exchange(self, timeout: float) -> list[Any]:
        seconds, data = self.scene.says.pop(0)
        self.scene.now += seconds
        self.scene.log.begins = bool(data)
        return Unpacker().feed(data)

    def kill(self) -> int:
        return -9


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    for module in (slot, processes):
        monkeypatch.setattr(module, "monotonic", lambda: made.now)
    monkeypatch.setattr(slot, "Child", lambda *_: FakeChild(made))
    return made


def test_how_long_a_child_takes_to_start_is_no_work(scene: Scene) -> None:
    # given a child that takes its time, and two jobs
    scene.say(START - 1, pack("ready"))
    for _ in range(2):
        scene.say(0.0, pack("begun"))
        scene.say(RUNS, pack("result", job="send", result="succeeded", children=[]))
    # when they have run, then what they took is counted
    run = scene.run(2)
    assert [record.result for record in run] == [None, None]
    assert (scene.pool.ran, scene.pool.seconds) == (2, 2 * RUNS)
    assert scene.pool.collect() == run


def test_what_a_run_came_to_is_not_asked_of_a_record_that_was_given_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a loop that takes a failed job back in line as soon as it is told of it
    finish = scene.pool.finish

    def in_line_at_once(record: Record, seconds: float) -> None:
        assert isinstance(record.result, Failed)
        finish(record, seconds)
        record.result = None

    monkeypatch.setattr(scene.pool, "finish", in_line_at_once)
    scene.say(0.0, pack("ready"))
    scene.say(0.0, pack("begun"))
    came_to = Record(scene.log, 0, b"k", FakeMessage(MAIN, 0))
    came_to.result, came_to.job = FAILED, "send"
    scene.say(RUNS, write_result(came_to))
    # when it fails, then what is behind it in its run does not begin
    run = scene.run(2)
    assert [record.result for record in run] == [None, RELEASED]


def test_what_no_child_has_begun_has_not_run(scene: Scene) -> None:
    # given a job whose partition is given back before its child has said anything
    scene.say(1.0)
    # when that is seen, then it and what follows it come back, and nothing has run
    run = scene.run(2)
    assert [record.result for record in run] == [RELEASED, RELEASED]
    assert (scene.pool.ran, scene.pool.seconds) == (0, 0.0)
    assert scene.pool.collect() == run


def test_a_child_that_cannot_be_had_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a system that has no memory for a child at first
    refusals = [MemoryError(), OSError("no process")]

    def child(*_: Any) -> FakeChild:
        if refusals:
            raise refusals.pop()
        return FakeChild(scene)

    def pause(seconds: float, _: Any) -> None:
        scene.now += seconds

    monkeypatch.setattr(slot, "Child", child)
    monkeypatch.setattr(scene.pool, "pause", pause)
    scene.say(0.0, pack("ready"))
    assert not scene.pool.prepare(wanted=True)
    assert scene.pool.next(scene.slot, 0.0) is None
    # when one is wanted, then it is told, and there is one in the end
    scene.slot._prepare()
    assert caplog.text.count("no child process for what is to be tried alone") == 2
    assert scene.slot.ready


def test_what_was_sent_to_a_child_may_have_begun_and_is_waited_for(scene: Scene) -> None:
    # given a job that a child has been sent, as its partition is given back
    scene.say(0.0, pack("ready"))
    scene.say(0.1)
    # when the child says only then that it has begun
    scene.say(0.1, pack("begun"))
    scene.say(RUNS, pack("result", job="send", result="succeeded", children=[]))
    (record,) = scene.run(1)
    # then it has run to its end
    assert record.result is None
    assert scene.pool.ran == 1
