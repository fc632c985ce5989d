"""A partition is taken away while its jobs run: within the drain budget, and beyond it.

A thread cannot be ended: a job beyond the budget runs on beside the attempt that replaces it. What
holds all the same: its late end counts for nothing, whatever it is, and no follower begins before
the job has ended where it belongs by then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from integration.scene import MakeScene, Scene, WorkerProcess, eventually

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

def is_first(job_id):
    path = os.path.join(os.path.dirname(os.environ["SCENE_JOURNAL"]), "begun-" + job_id)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, kind: str) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if kind == "short":
        wait_for("go")
    elif kind != "follower" and is_first(ctx.job_id):
        wait_for("late")
        note("late", ctx.job_id, ctx.cancelled)
        if kind == "fails-late":
            raise ValueError("too late to count")
        return
    note("end", ctx.job_id)
"""
KINDS = ("short", "ends-late", "fails-late")
# Enough that each partition has some lines of each kind; a key's partition is always the same.
LINES = 12


@dataclass
class Line:
    """Two jobs of one key: the head is of its kind, the other follows it."""

    kind: str
    partition: int
    head: str
    follower: str


def enqueue(scene: Scene) -> list[Line]:
    send, lines = scene.job("send"), []
    for number in range(LINES):
        key, kind = f"c{number}", KINDS[number % len(KINDS)]
        head, follower = (send.enqueue(customer=key, kind=k) for k in (kind, "follower"))
        lines.append(Line(kind, head.partition, head.id, follower.id))
    assert {(x.kind, x.partition) for x in lines} == {(k, p) for k in KINDS for p in (0, 1)}
    return lines


def taken_over(scene: Scene, worker: WorkerProcess) -> set[int]:
    """The partitions that a worker has."""
    mine = re.search(rf"assigned .*{scene.name}\.mail\[([\d, ]+)\]", worker.errors)
    return {int(number) for number in mine[1].split(",")} if mine else set()


def attempts(scene: Scene, job_id: str) -> list[str]:
    return [words[2] for words in scene.journal if words[:2] == ["start", job_id]]


def test_what_ends_in_time_runs_once_and_what_does_not_runs_again_in_its_place(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker with jobs that run in both of its partitions, and a follower behind each
    scene = make_scene(SOURCE)
    lines = enqueue(scene)
    first = scene.worker("--concurrency", "24", "--drain-budget", "10")
    eventually(lambda: len(scene.noted("start")) == LINES, "the heads run")

    # When another joins; some of them end within the drain budget, and others do not
    second = scene.worker("--concurrency", "24")
    eventually(lambda: "taken back" in first.errors, "partitions are taken back")
    assert set(scene.noted("start")) == {line.head for line in lines}
    scene.signal("go")
    moved = eventually(lambda: taken_over(scene, second), "the other has its share")
    given_back = {0, 1} if group_protocol == "classic" else moved
    in_time = {line.head for line in lines if line.kind == "short"}
    again = [x for x in lines if x.kind != "short" and x.partition in given_back]
    done = in_time | {x.follower for x in [*again, *lines] if x.head in in_time or x in again}
    eventually(lambda: done <= set(scene.noted("end")), "what was given back has run again")

    # And the late ones end at last, where they are nobody's business any more, as they can see
    scene.signal("late")
    late = {line.head for line in lines} - in_time
    eventually(lambda: set(scene.noted("late")) == late, "the late ones have ended")
    told = {words[1] for words in scene.journal if words[0] == "late" and words[2] == "True"}
    assert told == {x.head for x in again}
    kept = [x for x in lines if x.kind != "short" and x not in again]
    rest = {x.follower for x in kept}
    eventually(lambda: rest <= set(scene.noted("end")), "all have run")
    eventually(lambda: scene.lag() == 0, "all is committed")
    assert first.stop() == second.stop() == 0

    # Then those in time ran once; the others once more, under the same number of their attempt
    assert "not done" in first.errors
    assert {i: attempts(scene, i) for i in in_time} == {i: ["1"] for i in in_time}
    assert {x.head: attempts(scene, x.head) for x in again} == {x.head: ["1", "1"] for x in again}

    # And each follower began once, after the head's end that counts
    order = [tuple(words[:2]) for words in scene.journal]
    for line in lines:
        assert attempts(scene, line.follower) == ["1"]
        end = "late" if line in kept and line.kind == "ends-late" else "end"
        assert order.index((end, line.head)) < order.index(("start", line.follower))

    # And of the late ends nothing was kept: no success is counted twice, no failure is moved
    assert first.report()["succeeded"] + second.report()["succeeded"] == 2 * LINES
    moved_on = [line for line in kept if line.kind == "fails-late"]
    assert len(scene.records("mail.retry.100ms")) == len(moved_on)
    assert scene.dead() == []
