"""A right is denied: it is told with what grants it, others go on, nothing is lost or twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.acls import Acl, Rights, group, ids, strict_broker, topic
from integration.scene import MakeScene, Scene, WorkerProcess, eventually, refusal, scene_of

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

__all__ = ["strict_broker"]  # a fixture

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, how: str = "") -> None:
    note("start", ctx.job_id, ctx.attempt)
    if how == "mail.dlq":
        raise DeadLetter("as asked for")
    if how and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
TIER = "mail.retry.100ms"


@pytest.fixture
def make_scene(
    strict_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Iterator[MakeScene]:
    """Scenes on the broker that knows rights; a classic group forgets who is silent after 6 s."""
    session = {"kafka_session_timeout_ms": "6000"} if group_protocol == "classic" else {}
    with ExitStack() as stack:

        def make(source: str, **settings: str) -> Scene:
            chosen = {"group_protocol": group_protocol, **session, **settings}
            folder, where = tmp_path, strict_broker.bootstrap
            return stack.enter_context(
                scene_of(source, folder=folder, name=app_name, bootstrap=where, **chosen)
            )

        yield make


@pytest.fixture
def rights(strict_broker: Broker) -> Rights:
    return Rights(strict_broker)


def ready_worker(scene: Scene) -> WorkerProcess:
    """A worker that has its partitions, and has run a job of each of both."""
    worker = scene.worker("--http", "0")
    for number in (0, 1):
        enqueue(scene, number)
    eventually(lambda: len(scene.noted("end")) == 2, "the first jobs are done")
    eventually(lambda: not refusal(worker), "it is ready")
    eventually(lambda: scene.lag() == 0, "all is committed")
    return worker


def enqueue(scene: Scene, partition: int, how: str = "") -> str:
    """Enqueue a job that goes to this partition of two; return its id."""
    key = ("a", "d")[partition]
    ref = scene.job("send").enqueue(customer=key, how=how)
    assert ref.partition == partition
    return str(ref.id)


def told(worker: WorkerProcess, *parts: str) -> None:
    """See that the worker is not ready, that it says why and what mends it, and so does its log."""
    eventually(lambda: all(part in refusal(worker) for part in parts), f"it says {parts}")
    errors = [line for line in worker.errors.splitlines() if "ERROR" in line]
    assert any(all(part in line for part in parts) for line in errors), worker.errors


def grants(operation: str, kind: str, name: str) -> tuple[str, str]:
    return (
        f"no right to {operation.upper()}",
        f"--add --allow-principal User:NAME --operation {operation} --{kind} {name}",
    )


def all_well(scene: Scene, worker: WorkerProcess, *ended: str) -> None:
    """See that it is ready again, that these have ended, and that no attempt was made twice."""
    eventually(lambda: set(ended) <= set(scene.noted("end")), "all have ended")
    eventually(lambda: not refusal(worker), "it is ready again")
    eventually(lambda: scene.lag() == 0, "all is committed")
    assert worker.stop() == 0, worker.errors
    begun = Counter((words[1], words[2]) for words in scene.journal if words[0] == "start")
    assert set(begun.values()) == {1}


@pytest.mark.parametrize("denied", ["mail.dlq", TIER])
def test_a_topic_that_may_not_be_written_holds_one_partition_up(
    make_scene: MakeScene, rights: Rights, denied: str
) -> None:
    # Given a worker that is ready, and a topic that it may not write any more
    scene = make_scene(SOURCE)
    worker = ready_worker(scene)
    name = f"{scene.name}.{denied}"
    rights.deny(topic(name), "WRITE")

    # When a job of one partition has to be moved there
    moved = enqueue(scene, 0, how=denied)
    behind = enqueue(scene, 0)
    told(worker, "partition 0 stands still", *grants("Write", "topic", name))

    # Then the other partition goes on, and nothing has come of the job
    other = enqueue(scene, 1)
    eventually(lambda: other in scene.noted("end"), "the other partition goes on")
    eventually(lambda: scene.lag() == 2, "and is committed")
    assert "topics plan" not in refusal(worker)

    # And when the right is given, it is moved, once
    rights.allow(topic(name))
    all_well(scene, worker, behind, *([] if denied == "mail.dlq" else [moved]))
    letters = [moved] if denied == "mail.dlq" else []
    assert [letter["id"] for letter in scene.dead()] == letters


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_where_no_transaction_may_be_made_what_moves_nothing_goes_on(
    make_scene: MakeScene, rights: Rights, first: bool
) -> None:
    # Given a worker, without its first transaction or behind it, that may make no more of them
    scene = make_scene(SOURCE)
    worker = ready_worker(scene)
    if not first:
        retried = enqueue(scene, 0, how="retry")
        eventually(lambda: retried in scene.noted("end"), "a job was moved")
        eventually(lambda: scene.lag() == 0, "all is committed")
    prefix = f"{scene.name}.mail."
    rights.deny(ids(prefix), "WRITE")

    # When a job of one partition fails
    moved = enqueue(scene, 0, how="retry")
    told(worker, "partition 0 stands still", *grants("Write", "transactional-id", prefix))

    # Then the other one goes on
    other = enqueue(scene, 1)
    eventually(lambda: other in scene.noted("end"), "the other partition goes on")
    eventually(lambda: scene.lag() == 1, "and is committed")

    # And when the right is given, it is moved, once
    rights.allow(ids(prefix))
    all_well(scene, worker, moved, other)


@pytest.mark.parametrize("denied", ["mail", TIER])
def test_a_topic_that_may_not_be_read_is_told(
    make_scene: MakeScene, rights: Rights, denied: str
) -> None:
    # Given a worker that is ready
    scene = make_scene(SOURCE)
    worker = ready_worker(scene)

    # When it may not read one of its topics any more
    name = f"{scene.name}.{denied}"
    rights.deny(topic(name), "READ")

    # Then that is told, and main topics that may be read are
    told(worker, *grants("Read", "topic", name))
    failing, well = enqueue(scene, 0, how="retry"), enqueue(scene, 1)
    if denied == TIER:
        eventually(lambda: well in scene.noted("end"), "jobs run")

    # And when the right is given all run, once
    rights.allow(topic(name))
    all_well(scene, worker, failing, well)


def test_a_group_that_may_not_be_joined_is_told_by_who_is_in_it(
    make_scene: MakeScene, rights: Rights
) -> None:
    # Given a worker that is ready
    scene = make_scene(SOURCE)
    worker = ready_worker(scene)

    # When it may not be in its group any more
    rights.deny(group(f"{scene.name}.mail"), "READ")

    # Then that is told, and it lives
    told(worker, *grants("Read", "group", f"{scene.name}.mail"))
    late = [enqueue(scene, 0), enqueue(scene, 1, how="retry")]
    assert worker.http("/healthz")

    # And when the right is given all run, once
    rights.allow(group(f"{scene.name}.mail"))
    all_well(scene, worker, *late)


@pytest.mark.only_protocol("classic", why="a KIP-848 member is put out with its next heartbeat")
def test_what_ends_while_no_commit_is_taken_ends_once(
    make_scene: MakeScene, rights: Rights
) -> None:
    # Given a member that hears of it by its commits first: KIP-848 tells it within a heartbeat
    scene = make_scene(SOURCE, kafka_session_timeout_ms="30000")
    worker = ready_worker(scene)
    received = worker.metrics()['streamjobs_records_received_total{queue="mail"}']

    # When the right is taken away while a job runs
    rights.deny(group(f"{scene.name}.mail"), "READ")
    first = enqueue(scene, 0)
    eventually(lambda: first in scene.noted("end"), "a job runs")
    told(worker, *grants("Read", "group", f"{scene.name}.mail"))

    # Then no other begins that could not be committed
    second = enqueue(scene, 1)
    eventually(
        lambda: worker.metrics()['streamjobs_records_received_total{queue="mail"}'] == received + 2,
        "it is there",
    )
    scene.note("allowed")
    rights.allow(group(f"{scene.name}.mail"))

    # And it begins when the right is given, and the first ran once
    all_well(scene, worker, first, second)
    assert ["start", second, "1"] in scene.journal[scene.journal.index(["allowed"]) :]


@pytest.mark.parametrize(
    ("of", "operation", "message"),
    [
        (topic("{}.mail.dlq"), "WRITE", grants("Write", "topic", "{}.mail.dlq")),
        (topic("{}.mail.dlq"), "DESCRIBE", grants("Describe", "topic", "{}.mail.dlq")),
        (topic(f"{{}}.{TIER}"), "WRITE", grants("Write", "topic", f"{{}}.{TIER}")),
        (topic(f"{{}}.{TIER}"), "READ", grants("Read", "topic", f"{{}}.{TIER}")),
        (topic("{}.mail"), "READ", grants("Read", "topic", "{}.mail")),
        (group("{}.mail"), "READ", grants("Read", "group", "{}.mail")),
    ],
    ids=["dlq-write", "dlq-describe", "tier-write", "tier-read", "main-read", "group-read"],
)
def test_a_worker_does_not_begin_without_a_right(
    make_scene: MakeScene, rights: Rights, of: Acl, operation: str, message: tuple[str, str]
) -> None:
    # Given a job, and a right that is missing
    scene = make_scene(SOURCE)
    job = enqueue(scene, 0)
    kind, pattern, name = of
    here: Acl = (kind, pattern, name.format(scene.name))
    rights.deny(here, operation)

    # When a worker starts, then it ends and says what is missing
    refused = scene.worker()
    assert refused.wait() == 1
    for part in message:
        assert part.format(scene.name) in refused.errors
    assert "topics apply" not in refused.errors
    assert not scene.noted("start")

    # And when the right is given, one runs the job
    rights.allow(here)
    worker = scene.worker("--http", "0")
    all_well(scene, worker, job)
