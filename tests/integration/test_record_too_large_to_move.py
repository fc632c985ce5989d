"""Main takes larger jobs than the retry topics do: a shard stands still until they do, loudly."""

from __future__ import annotations

import json

from integration.scene import MakeScene, eventually, refusal

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, text: str = "") -> None:
    note("start", customer)
    if text and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", customer)
"""
LARGEST = 4_000_000


def test_it_waits_with_its_partition_alone_and_is_moved_when_the_topics_are_mended(
    make_scene: MakeScene,
) -> None:
    # Given a worker, and a main topic whose limit somebody has raised
    scene = make_scene(SOURCE, kafka_message_max_bytes=str(LARGEST))
    worker = scene.worker("--http", "0", STREAMJOBS_KAFKA_MESSAGE_MAX_BYTES="")
    send = scene.job("send")
    where = {key: send.enqueue(customer=key).partition for key in ("a", "b", "c", "d", "e")}
    big = next(key for key, partition in where.items() if partition == 0)
    other = next(key for key, partition in where.items() if partition == 1)
    eventually(lambda: len(scene.noted("end")) == len(where), "the first jobs are done")
    scene.limit("mail", LARGEST)

    # When a job fails that its retry topic does not take
    send.enqueue(customer=big, text="x" * 2_000_000)
    send.enqueue(customer=big)
    told = eventually(lambda: refusal(worker), "the worker is not ready")

    # Then it says which partition stands still, and why, and what mends it; the other one goes on
    for part in ("partition 0 stands still", "mail.retry.100ms", "size too large", "topics plan"):
        assert part in told
    assert "ERROR" in worker.errors
    assert "partition 0 stands still" in worker.errors
    send.enqueue(customer=other)
    eventually(lambda: scene.noted("end")[other] == 2, "the other partition goes on")
    assert scene.noted("end")[big] == 1

    # And the plan knows of every topic that takes too little, and mends them under the worker
    plan = json.loads(scene.command("topics", "plan", "--json").stdout)
    steps = {step["topic"].removeprefix(f"{scene.name}."): step["config"] for step in plan["steps"]}
    enough = {"max.message.bytes": str(LARGEST + 65_536)}
    assert steps == {"mail.retry.100ms": enough, "mail.dlq": enough}
    assert scene.command("topics", "apply").returncode == 0

    # Then it is moved, in its order and once, and the worker is ready again
    eventually(lambda: scene.noted("end")[big] == 3, "it goes on")
    eventually(lambda: not refusal(worker), "it is ready again")
    assert worker.stop() == 0, worker.errors
    assert [words[0] for words in scene.journal if words[1] == big] == [
        *("start", "end"),
        *("start", "start", "end"),
        *("start", "end"),
    ]
    assert len(scene.records("mail.retry.100ms")) >= 1
    assert scene.lag() == 0
