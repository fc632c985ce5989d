"""A queue's topic is deleted under its worker: it says so, is not ready, and goes on later."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient
from integration.scene import MakeScene, eventually, refusal

SOURCE = """
from streamjobs.worker import watch
if IN_WORKER:
    watch.LOOK_EVERY = 0.5

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""


@pytest.mark.parametrize("deleted", ["mail", "mail.retry.100ms"])
def test_it_is_told_and_it_goes_on_when_the_topic_is_back(
    make_scene: MakeScene, deleted: str
) -> None:
    # Given a worker that is ready, and has run a job that took two attempts
    scene = make_scene(SOURCE)
    worker = scene.worker("--http", "0")
    eventually(lambda: ": assigned" in worker.errors, "it is in its group")
    eventually(lambda: not refusal(worker), "it is ready")
    first = scene.job("send").enqueue(1)
    eventually(lambda: scene.noted("end"), "the job has run")

    # When a topic of the queue is deleted
    topic = f"{scene.name}.{deleted}"
    client = AdminClient({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    client.delete_topics([topic])[topic].result(10)

    # Then it is not ready, and says which topic is missing and what mends it
    told = eventually(lambda: refusal(worker), "it is not ready", within=20)
    assert topic in told
    assert "topics apply" in told
    assert topic in worker.errors

    # And when the topic is there again, jobs run, retries included
    scene.create_topics()
    eventually(lambda: not refusal(worker), "it is ready again", within=30)
    second = scene.job("send").enqueue(2)
    eventually(lambda: scene.noted("end") == {first.id: 1, second.id: 1}, "the job has run")
    assert worker.stop() == 0, worker.errors
