"""A worker is killed while partitions are given to it, or taken from it, and others take over."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import NamedTuple

from integration.order import judge
from integration.scene import MakeScene, Scene, WorkerProcess, eventually, short_session

from streamjobs.failpoints import VARIABLE
from streamjobs.testing import GroupProtocol

SOURCE = """
jobs = {}
for name in ("assigned", "revoked", "drained"):
    app.queue(name, partitions=2, retry=Retry(delays=("100ms",)))

    @app.job(queue=name, name="job_" + name, key="customer")
    def job(ctx: Context, customer: str, number: int) -> None:
        note("start", ctx.job_id, ctx.attempt)
        if number == 1 and ctx.attempt == 1:
            raise ValueError("not yet")
        if number == 2:
            wait_for("go")
        note("end", ctx.job_id)

    jobs[name] = job
"""
QUEUES = ("assigned", "revoked", "drained")
# Of each key: one that ends, one that fails first, one that runs on, one behind it.
KEYS, LINE = 6, 4


class Job(NamedTuple):
    """One that was enqueued."""

    queue: str
    partition: int
    number: int
    id: str


def enqueue(scene: Scene) -> dict[str, list[Job]]:
    """The lines, by queue and key."""

    def line(queue: str, key: str) -> Iterator[Job]:
        for number in range(LINE):
            ref = scene.job("jobs")[queue].enqueue(customer=key, number=number)
            yield Job(queue, ref.partition, number, ref.id)

    return {f"{q}-{k}": list(line(q, f"c{k}")) for q in QUEUES for k in range(KEYS)}


def attempts(scene: Scene, job: Job) -> list[str]:
    return [words[2] for words in scene.journal if words[:2] == ["start", job.id]]


def taken_back(worker: WorkerProcess, queue: str) -> set[int]:
    found = re.search(rf"revoked .*\.{queue}\[([\d, ]+)\]", worker.errors)
    return {int(number) for number in found[1].split(",")} if found else set()


def test_nothing_is_lost_and_only_what_ran_runs_again(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker that is killed as it is given partitions, and two that run jobs
    scene = make_scene(SOURCE, **short_session(group_protocol))
    lines = enqueue(scene)
    first = {
        queue: scene.worker(
            queue=queue, **{VARIABLE: f"{scene.folder}/{queue}.hits;loop.{queue}=kill@1"}
        )
        for queue in QUEUES
    }
    assert first["assigned"].wait() == -signal.SIGKILL
    running = {job.id for line in lines.values() for job in line if job.number == 2}
    running -= {job.id for line in lines.values() for job in line if job.queue == "assigned"}
    eventually(lambda: running <= set(scene.noted("start")), "the others run jobs")

    # When others join, and they are killed as they give partitions back: one before its running
    # jobs have ended, one after that
    second = {queue: scene.worker("--drain", queue=queue) for queue in QUEUES}
    assert first["revoked"].wait() == -signal.SIGKILL
    eventually(lambda: "taken back" in first["drained"].errors, "one gives partitions back")
    scene.signal("go")
    assert first["drained"].wait() == -signal.SIGKILL
    assert [worker.wait() for worker in second.values()] == [0, 0, 0]

    # Then all have ended, in order, and but for what ran no attempt was made twice. A kept shard
    # goes on while the other is given back, so that the last of its lines may have run as well
    given_back = taken_back(first["drained"], "drained")
    assert given_back
    jobs = [job for line in lines.values() for job in line]
    ran = [job.id for job in jobs if job.number == 2]
    kept = {
        job.id
        for job in jobs
        if job.queue == "drained" and job.number == 3 and job.partition not in given_back
    }
    judge(
        scene,
        {key: [j.id for j in line] for key, line in lines.items()},
        cut_off=[*ran, *kept],
        queue="drained",
    )
    for job in jobs:
        if job.number != 2:
            wanted = ["1", "2"] if job.number == 1 else ["1"]
            again = job.id in kept and attempts(scene, job) == ["1", "1"]
            assert again or attempts(scene, job) == wanted, job

    # And what ran has run again, unless it was given back in order
    for job in jobs:
        if job.number == 2 and (job.queue != "drained" or job.partition in given_back):
            assert attempts(scene, job) == (["1", "1"] if job.queue == "revoked" else ["1"]), job
