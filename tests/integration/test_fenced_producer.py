"""Somebody takes a worker's transactional id away: it makes another, and moves go on, once each."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition
from integration.scene import MakeScene, Scene, eventually, long_session

from streamjobs.kafka.config import consumer_config, producer_config
from streamjobs.worker.owners import read_id

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("300ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
JOBS = 50


def transactional_id(scene: Scene) -> str | None:
    """What the owner of the first partition has told beside its offset."""
    group = f"{scene.name}.mail"
    consumer = Consumer(consumer_config(scene.app.settings, group))
    try:
        (at,) = consumer.committed([TopicPartition(group, 0)], timeout=10)
        return read_id(at.metadata) if at.metadata else None
    finally:
        consumer.close()


def test_it_goes_on_with_another_one(make_scene: MakeScene) -> None:
    # Given a worker that has moved jobs in transactions
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    worker = scene.worker()
    scene.app.enqueue_many(send.call(customer=f"a{n}") for n in range(JOBS))
    eventually(lambda: len(scene.noted("end")) == JOBS, "the first have ended")
    name = eventually(lambda: transactional_id(scene), "its id is told")

    # When somebody else takes its transactional id over
    Producer(producer_config(scene.app.settings, transactional_id=name)).init_transactions(60)
    scene.app.enqueue_many(send.call(customer=f"b{n}") for n in range(JOBS))

    # Then it says so and goes on with another, and each job has made each attempt once
    eventually(lambda: len(scene.noted("end")) == 2 * JOBS, "all have ended")
    assert "the producer is used up" in worker.errors
    eventually(lambda: transactional_id(scene) not in {name, None}, "the new id is told")
    attempts = [tuple(words[1:]) for words in scene.journal if words[0] == "start"]
    assert len(attempts) == len(set(attempts)) == 4 * JOBS
    assert len(scene.records("mail.retry.300ms")) == 2 * JOBS
    assert worker.stop() == 0, worker.errors
