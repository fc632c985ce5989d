"""Partitions are added to a queue's main topic under its worker: it is told, and what is new waits.

Then the way out, as ``docs/operations.md`` has it, step by step.
"""

from __future__ import annotations

import json

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export them
    AdminClient,
    NewPartitions,
)
from integration.scene import MakeScene, Scene, eventually, refusal

SOURCE = """
from streamjobs.worker import watch
if IN_WORKER:
    watch.LOOK_EVERY = 0.5

app.queue("mail", partitions=2, retry=Retry(delays=("3s",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", customer, number)
    if number == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", customer, number)
"""
KEYS = [f"c{n}" for n in range(12)]


def test_it_is_told_the_old_ones_go_on_and_the_queue_is_whole_again_with_all_of_them(
    make_scene: MakeScene,
) -> None:
    # Given a worker, and a job of each key that has failed and waits
    scene = make_scene(SOURCE)
    worker = scene.worker("--http", "0")
    eventually(lambda: ": assigned" in worker.errors, "it is in its group")
    for key in KEYS:
        scene.job("send").enqueue(key, 0)
    eventually(lambda: len(scene.noted("start")) == len(KEYS), "the heads have failed")

    # When partitions are added to the main topic, and producers that know of them go on
    client = AdminClient({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    topic = f"{scene.name}.mail"
    client.create_partitions([NewPartitions(topic, 4)])[topic].result(10)
    enqueue_elsewhere(scene, 1)

    # Then the worker says so, and is not ready, with the way out
    told = eventually(lambda: refusal(worker), "it is not ready", within=20)
    for part in (f"topic {topic} has 4 partitions, and queue 'mail' 2", "set partitions=4"):
        assert part in told
        assert part in worker.errors

    # And the old partitions go on, while what is in the added ones waits
    where = {str(r.key, "utf-8"): r.partition for r in scene.records("mail") if r.key}
    moved = {key for key in KEYS if where[key] >= 2}
    assert 0 < len(moved) < len(KEYS)
    once = {key: 1 if key in moved else 2 for key in KEYS}
    eventually(lambda: scene.noted("end") == once, "the old partitions are done")
    assert worker.stop() == 0, worker.errors

    # And a worker that starts refuses, unless it is told to run the old ones
    late = scene.worker("--drain")
    assert late.wait() == 1
    assert "partitions were added" in late.errors
    assert "set partitions=4" in late.errors
    drained = scene.worker("--drain", "--old-partitions")
    assert drained.wait() == 0, drained.errors
    assert scene.noted("end") == once

    # And when the queue is given all of them, the rest runs, each key in its order
    module = scene.folder / f"{scene.module}.py"
    module.write_text(module.read_text().replace("partitions=2", "partitions=4"))
    applied = scene.command("topics", "apply")
    assert applied.returncode == 0, applied.stderr
    last = scene.worker("--drain")
    assert last.wait() == 0, last.errors
    for key in KEYS:
        lines = [(words[0], words[2]) for words in scene.journal if words[1] == key]
        assert lines == [("start", "0"), ("start", "0"), ("end", "0"), ("start", "1"), ("end", "1")]


def enqueue_elsewhere(scene: Scene, number: int) -> None:
    """A job for each key, by a producer that has just started."""
    rows = "".join(json.dumps({"customer": key, "number": number}) + "\n" for key in KEYS)
    done = scene.command("enqueue", "send", "--from", "-", "--format", "jsonl", input=rows)
    assert done.returncode == 0, done.stderr
