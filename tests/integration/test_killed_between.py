"""A worker is killed at each place between an outcome and its commit, and another takes over."""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

import pytest
from contract.line import Line
from integration.scene import MakeScene, Scene, WorkerProcess, eventually

from streamjobs.failpoints import VARIABLE
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

# Eight workers at once, and then one for all of their queues.
pytestmark = pytest.mark.timeout(300)
SOURCE = """
from streamjobs.kafka import config

# A killed worker's open transaction may hold its successor up for so long. It has to outlast one
# that stands still in it until another one stands still too.
if IN_WORKER:
    config.TRANSACTION_TIMEOUT_MS, config.DELIVERY_TIMEOUT_MS = 20_000, 10_000

NO_RETRY = ("plain", "dead", "sent", "told")
for name in (
    *("collected", "plain", "begun", "produced", "offsets", "committed", "dead", "up"),
    *("sent", "told", "moved"),
):
    delays = () if name in NO_RETRY else ("100ms", "200ms") if name == "up" else ("100ms",)
    app.queue(name, partitions=1, retry=Retry(delays=delays))

    @app.job(queue=name, name="job_" + name)
    def job(ctx: Context, failures: int) -> None:
        note("start", ctx.job_id, ctx.attempt)
        if ctx.attempt <= failures:
            raise ValueError("not yet")
        note("end", ctx.job_id)

app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if number == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    if number == 0:
        wait_for("go")
    note("end", ctx.job_id)
"""
# Taken over at once, without a wait for the session to end.
MEMBER = {"STREAMJOBS_GROUP_INSTANCE_ID": "owner"}
# Seconds for a successor: sessions, transactions, and children for jobs that may have killed.
PATIENCE = 120.0


class Case(NamedTuple):
    """What a job goes through.

    Attributes:
        order: where its worker is killed.
        failures: how many of its attempts fail.
        attempts: those that are made, by both workers.
        moved: records that readers see in each retry topic and in the DLQ at the end.
    """

    order: str
    failures: int
    attempts: list[int]
    moved: dict[str, int]


ONCE = {"retry.100ms": 1, "dlq": 0}
CASES = {
    # The job has ended, and that is not recorded, or not committed: it runs once more.
    "collected": Case("loop.collected=kill@1", 0, [1, 1], {"dlq": 0}),
    "plain": Case("cycle.plain=kill@1", 0, [1, 1], {"dlq": 0}),
    # It has failed, and that is not committed: it fails once more, and is moved once.
    "begun": Case("txn.begun=kill@1", 1, [1, 1, 2], ONCE),
    "produced": Case("txn.produced=kill@1", 1, [1, 1, 2], ONCE),
    "offsets": Case("txn.offsets-sent=kill@1", 1, [1, 1, 2], ONCE),
    # It is committed that it was moved: it goes on where it is.
    "committed": Case("txn.committed=kill@1", 1, [1, 2], ONCE),
    # On its way to the DLQ, and from one retry topic up to the next.
    "dead": Case("txn.offsets-sent=kill@1", 1, [1, 1], {"dlq": 1}),
    "up": Case(
        "txn.offsets-sent=kill@2", 2, [1, 2, 2, 3], {"retry.100ms": 1, "retry.200ms": 1, "dlq": 0}
    ),
}


def starts(scene: Scene, job_id: str) -> list[int]:
    """The attempts of a job, in the order in which they began."""
    return [int(words[2]) for words in scene.journal if words[:2] == ["start", job_id]]


def stands_still(worker: WorkerProcess) -> bool:
    """Whether it has stopped itself."""
    asked = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, worker.process.pid, asked) is not None


def test_what_is_not_committed_runs_again_and_is_moved_once(make_scene: MakeScene) -> None:
    # Given a job in a queue for each place, and a worker that is killed there
    scene = make_scene(SOURCE)
    # What is at its end already, and committed: there the first plain commit is the job's.
    before = scene.app.jobs["job_plain"].enqueue(failures=0).id
    emptied = scene.worker("--drain", queue="plain")
    assert emptied.wait() == 0, emptied.errors
    ids = {
        name: scene.app.jobs[f"job_{name}"].enqueue(failures=case.failures).id
        for name, case in CASES.items()
    }
    killed = [
        scene.worker(queue=name, **{VARIABLE: f"{scene.folder}/{name}.hits;{case.order}"}, **MEMBER)
        for name, case in CASES.items()
    ]
    assert [worker.wait() for worker in killed] == [-signal.SIGKILL] * len(CASES)

    # When another worker takes them all over
    queues = [word for name in list(CASES)[1:] for word in ("-q", name)]
    successor = scene.worker("--drain", *queues, queue=next(iter(CASES)), **MEMBER)
    assert successor.wait(PATIENCE) == 0, successor.errors

    # Then no attempt was made but those that were not known to have been, and no move twice
    assert {name: starts(scene, i) for name, i in ids.items()} == {
        name: case.attempts for name, case in CASES.items()
    }
    moved = {
        name: {to: len(scene.records(f"{name}.{to}")) for to in case.moved}
        for name, case in CASES.items()
    }
    assert moved == {name: case.moved for name, case in CASES.items()}

    # And each has ended in one way
    (letter,) = scene.dead("dead")
    assert (letter["id"], letter["attempts"]) == (ids["dead"], 1)
    ended = {i for name, i in ids.items() if name != "dead"}
    assert set(scene.noted("end")) == {before, *ended}


def test_a_commit_that_was_sent_and_not_answered_counts_as_the_broker_has_it(
    make_scene: MakeScene, kafka_broker: Broker, group_protocol: GroupProtocol
) -> None:
    # Given queues at their ends, so that the first plain commit is that of the job
    scene = make_scene(SOURCE)
    for name in ("sent", "told"):
        scene.app.jobs[f"job_{name}"].enqueue(failures=0)
    emptied = scene.worker("--drain", "-q", "told", queue="sent")
    assert emptied.wait() == 0, emptied.errors
    ids = {
        name: scene.app.jobs[f"job_{name}"].enqueue(failures=int(name == "moved")).id
        for name in ("sent", "told", "moved")
    }

    def worker(name: str, order: str, bootstrap: str) -> WorkerProcess:
        hits = {VARIABLE: f"{scene.folder}/{name}.hits;{order}"}
        where = {"STREAMJOBS_BOOTSTRAP_SERVERS": bootstrap}
        return scene.worker(queue=name, **where, **hits, **MEMBER)

    # And two of their groups remember a member that stands still
    if group_protocol == "consumer":
        groups = [f"{scene.name}.{name}" for name in ("told", "moved")]
        with Admin(scene.app.settings) as admin:
            admin.set_session_timeout(groups, 20_000)

    # And a worker that is killed right after a plain commit has left for the broker, and two that
    # are about to commit, plainly and a transaction
    sent = worker("sent", "cycle.plain-sent=kill@1", kafka_broker.bootstrap)
    with Line(kafka_broker.bootstrap) as line:
        told = worker("told", "cycle.plain=stop@1", line.bootstrap)
        moved = worker("moved", "txn.offsets-sent=stop@1", line.bootstrap)
        eventually(lambda: stands_still(told) and stands_still(moved), "both are about to commit")

        # When those two are killed after the broker took the commits, and before they know it
        line.hold_answers()
        for each in (told, moved):
            each.signal(signal.SIGCONT)
        eventually(lambda: scene.lag("told") == 0, "the plain commit is there")
        eventually(lambda: scene.records("moved.retry.100ms"), "the transaction is there")
        for each in (told, moved):
            each.kill()
    assert sent.wait() == -signal.SIGKILL
    successor = scene.worker("--drain", "-q", "told", "-q", "moved", queue="sent", **MEMBER)
    assert successor.wait(PATIENCE) == 0, successor.errors

    # Then what the broker has does not run again, and the other does unless the broker has it too
    assert starts(scene, ids["told"]) == [1]
    assert starts(scene, ids["moved"]) == [1, 2]
    assert starts(scene, ids["sent"]) in ([1], [1, 1])
    assert len(scene.records("moved.retry.100ms")) == 1
    assert set(ids.values()) <= scene.noted("end").keys()
    assert [scene.records(f"{name}.dlq") for name in ids] == [[], [], []]
    assert [scene.lag(name) for name in ids] == [0, 0, 0]


def test_what_had_not_begun_is_begun_once_and_what_ran_runs_again(make_scene: MakeScene) -> None:
    # Given a worker with one thread, which runs a job for the second time, and others in hand
    scene = make_scene(SOURCE)
    send = scene.job("send")
    running = send.enqueue(number=0).id
    first = scene.worker("--concurrency", "1", "--http", "0", **MEMBER)
    eventually(lambda: starts(scene, running) == [1, 2], "it runs again")
    others = [send.enqueue(number=n).id for n in range(1, 20)]
    in_hand = 'streamjobs_jobs_in_hand{queue="mail"}'
    eventually(lambda: first.metrics()[in_hand] == 20, "the others are in hand")

    # When it is killed, and another takes over
    first.kill()
    scene.signal("go")
    second = scene.worker("--drain", **MEMBER)
    assert second.wait() == 0, second.errors

    # Then the attempt that was cut off is made once more, under its number, and all others once
    assert starts(scene, running) == [1, 2, 2]
    assert [starts(scene, job_id) for job_id in others] == [[1]] * len(others)
    assert scene.noted("end") == dict.fromkeys([running, *others], 1)
