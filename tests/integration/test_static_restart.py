"""Workers with names of their own: one that comes back in time has its partitions back."""

from __future__ import annotations

import re
from functools import partial

from integration.scene import (
    MakeScene,
    Scene,
    WorkerProcess,
    eventually,
    long_session,
    long_sessions,
    short_session,
)

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=8)

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id)
    time.sleep(0.002)
"""
JOBS = 400
NAMES, SHARE = [f"worker-{n}" for n in range(4)], 2


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


def test_restarts_in_turn_move_nobody_elses_partitions(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given workers with names, each with its share, at work
    scene = make_scene(SOURCE, **long_sessions(group_protocol))
    long_session(scene)
    fleet = {name: named(scene, name) for name in NAMES}
    shared = [SHARE] * len(NAMES)
    eventually(lambda: [len(owned(w)) for w in fleet.values()] == shared, "shares", within=60)
    shares = {name: owned(worker) for name, worker in fleet.items()}
    send = scene.job("send")

    def ran(least: int) -> bool:
        return len(scene.noted("start")) >= least

    def has(name: str) -> bool:
        return owned(fleet[name]) == shares[name]

    for number, name in enumerate(NAMES):
        scene.app.enqueue_many(send.call(customer=f"c{n}") for n in range(JOBS))
        eventually(partial(ran, number * JOBS + 20), "they work")
        before = {other: moves(worker) for other, worker in fleet.items() if other != name}

        # When one is stopped and started again under its name
        assert fleet[name].stop() == 0, fleet[name].errors
        fleet[name] = named(scene, name)

        # Then it has the same partitions, and the others have noticed nothing
        eventually(partial(ran, (number + 1) * JOBS), "all have run")
        eventually(partial(has, name), "it has what it had")
        assert len(moves(fleet[name])) == 1
        assert {other: moves(fleet[other]) for other in before} == before

    # And no job ran twice
    assert set(scene.noted("start").values()) == {1}
    assert {worker.stop() for worker in fleet.values()} == {0}


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
    eventually(lambda: scene.noted("start"), "its job has run", within=40)
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
        eventually(lambda: owned(second) == set(range(8)), "the newer has what the older had")
