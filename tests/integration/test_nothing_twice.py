"""Guarantees 3 and 4 above the committed offset: what has ended there stays ended after a crash."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition
from integration.order import tier_records
from integration.scene import MakeScene, Scene, eventually

from streamjobs.engine.metadata import Metadata, read
from streamjobs.kafka.config import consumer_config

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("300ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", number)
    if number == 0:
        wait_for("go")
    if number == 7:
        raise ValueError("always")
    note("end", number)
"""
JOBS = 500


def test_behind_a_long_job_nothing_is_done_twice(make_scene: MakeScene) -> None:
    # Given a job that takes long, and jobs of other keys after it that end, one of them dead
    scene = make_scene(SOURCE)
    member = {"STREAMJOBS_GROUP_INSTANCE_ID": "owner"}
    send = scene.job("send")
    assert scene.app.enqueue_many(send.call(f"c{n}", n) for n in range(JOBS)).sent == JOBS
    first = scene.worker(**member)

    # When all of that is committed, and the worker is killed
    def told() -> bool:
        offset, metadata = committed(scene)
        assert offset <= 0
        return metadata is not None and metadata.above.bounds == (0, 1, JOBS)

    eventually(told, "all but the first are told to be complete")
    eventually(lambda: len(scene.dead()) == 1, "what failed twice is dead, which is a commit too")
    first.kill()
    scene.signal("go")
    second = scene.worker("--drain", **member)
    assert second.wait() == 0, second.errors

    # Then the first alone runs again
    starts = scene.noted("start")
    assert starts.pop("0") == 2
    assert starts.pop("7") == 2
    assert set(starts.values()) == {1}
    assert len(scene.noted("end")) == JOBS - 1
    assert tier_records(scene, "300ms") == 1
    assert len(scene.dead()) == 1


def committed(scene: Scene) -> tuple[int, Metadata | None]:
    config = consumer_config(scene.app.settings, f"{scene.app.prefix}.mail")
    consumer = Consumer(config)
    try:
        (at,) = consumer.committed([TopicPartition(f"{scene.app.prefix}.mail", 0)], timeout=10)
    finally:
        consumer.close()
    return at.offset, read(at.metadata, at.offset)
