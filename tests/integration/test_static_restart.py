"""Workers with names of their own: one that comes back in time has its partitions back."""

from __future__ import annotations

import re

from integration.scene import MakeScene, Scene, WorkerProcess, eventually, short_session

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=4)

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id)
    time.sleep(0.002)
"""
JOBS = 400


def named(scene: Scene, name: str, *arguments: str) -> WorkerProcess:
    return scene.worker(*arguments, STREAMJOBS_GROUP_INSTANCE_ID=name)


def moves(worker: WorkerProcess) -> list[str]:
    """What the group gave it and took from it, without the times."""
    lines = (line.partition("queue mail: ")[2] for line in worker.errors.splitlines())
    return [line for line in lines if line.startswith(("assigned", "revoked", "lost"))]


def owned(worker: WorkerProcess) -> set[int]:
    """The shards that it has by now."""
    mine: set[int] = set()
    for line in moves(worker):
        if found := re.search(r"\.mail\[([\d, ]+)\]", line):
            numbers = {int(number) for number in found[1].split(",")}
            mine = mine | numbers if line.startswith("assigned") else mine - numbers
    return mine


def test_a_restart_moves_nobody_elses_partitions(make_scene: MakeScene) -> None:
    # Given two workers with names, each with its share, at work
    scene = make_scene(SOURCE)
    first, second = named(scene, "worker-0"), named(scene, "worker-1")

    eventually(lambda: [len(owned(w)) for w in (first, second)] == [2, 2], "each has two shards")
    before = owned(first), moves(second)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(customer=f"c{n}") for n in range(JOBS))
    eventually(lambda: len(scene.noted("start")) > 20, "they work")

    # When one is stopped and started again under its name
    assert first.stop() == 0, first.errors
    again = named(scene, "worker-0")

    # Then it has the same partitions, the other one has noticed nothing, and no job ran twice
    eventually(lambda: len(scene.noted("start")) == JOBS, "all have run")
    assert owned(again) == before[0]
    assert len(moves(again)) == 1
    assert moves(second) == before[1]
    assert set(scene.noted("start").values()) == {1}
    assert again.stop() == second.stop() == 0


def test_who_was_killed_has_its_name_back_when_its_session_has_ended(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker with a name that is killed
    scene = make_scene(SOURCE, **short_session(group_protocol))
    first = named(scene, "worker-0")
    eventually(lambda: moves(first), "it is in the group")
    first.kill()

    # When it is started again at once
    again = named(scene, "worker-0")
    scene.job("send").enqueue("ann")

    # Then it joins, at once or after the session, and runs what is there
    eventually(lambda: scene.noted("start"), "its job has run", within=20)
    assert again.stop() == 0, again.errors


def test_two_workers_of_one_name_are_told_so(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker with a name
    scene = make_scene(SOURCE)
    first = named(scene, "worker-0")
    eventually(lambda: moves(first), "it is in the group")

    # When another one is started under the same name
    second = named(scene, "worker-0")

    # Then the older one ends, or the newer one waits, as the protocol has it, and says why
    def told() -> bool:
        return "every worker process needs its own STREAMJOBS_GROUP_INSTANCE_ID" in (
            first.errors + second.errors
        )

    eventually(told, "the name is told to be taken")
    if group_protocol == "classic":
        assert first.wait(20) == 1
        assert second.stop() == 0
    else:
        assert first.stop() == 0
        eventually(lambda: owned(second) == {0, 1, 2, 3}, "the newer has what the older had")
