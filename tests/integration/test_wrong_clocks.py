"""Delays when the clocks of those who enqueue are years off, and a long wait is before a short."""

from __future__ import annotations

import time

from confluent_kafka import Producer
from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("300ms", "10s")))

@app.job(queue="mail", key="name")
def send(ctx: Context, name: str) -> None:
    note("start", ctx.job_id, time.time())
    if ctx.attempt == 1:
        raise RetryAfter("10s" if name == "long" else "300ms")
    note("end", ctx.job_id)
"""
# What a producer may take the time to be: 1971, and 2199. "long" comes first.
STAMPS = {"long": 31_536_000_000, "past": 31_536_000_000, "future": 7_226_582_400_000}
# Seconds a retry may be late on a busy machine.
LATE = 8.0


def test_the_brokers_clock_decides_and_no_delay_waits_for_another(make_scene: MakeScene) -> None:
    # Given jobs from producers whose clocks are years off
    scene = make_scene(SOURCE)
    send, began = scene.job("send"), time.time()
    producer = Producer({"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]})
    ids = {}
    for n, (name, stamp) in enumerate(STAMPS.items()):
        ids[name] = f"{n:08x}-0000-4000-8000-000000000000"
        job = scene.app.client.outgoing(send.options(id=ids[name]).call(name=name))
        producer.produce(job.topic, job.value, job.key, timestamp=stamp)
        assert producer.flush(10) == 0

    # When each fails once, the first of them for a long wait
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then each waits its own delay, never less
    assert scene.noted("end") == dict.fromkeys(ids.values(), 1)
    starts: dict[str, list[float]] = {}
    for kind, job_id, *at in scene.journal:
        if kind == "start":
            starts.setdefault(job_id, []).append(float(at[0]))
    waits = {name: starts[i][1] - starts[i][0] for name, i in ids.items()}
    assert 10.0 <= waits["long"] < 10.0 + LATE
    assert 0.3 <= waits["past"] < 0.3 + LATE
    assert 0.3 <= waits["future"] < 0.3 + LATE

    # And what retention goes by is the time of the broker: none is old enough to be deleted
    kept = [*scene.records("mail"), *scene.records("mail.retry.300ms")]
    assert len(kept) == 5
    assert all(began - 1 <= record.timestamp_ms / 1000 <= time.time() + 1 for record in kept)
