"""Too few replicas of a topic are left: nothing is acknowledged, nothing lost, and it passes."""

from __future__ import annotations

import pytest
from integration.scene import MakeScene, eventually

from streamjobs import EnqueueError
from streamjobs.kafka.brokers import Broker

# Three nodes start, and one of them once more.
pytestmark = pytest.mark.timeout(300)
SOURCE = """
from streamjobs.kafka import config, cycle

if IN_WORKER:
    config.TRANSACTION_TIMEOUT_MS, config.DELIVERY_TIMEOUT_MS = 2_000, 1_500
    cycle.ABORT_PATIENCE = 1.0
app.queue("mail", partitions=3, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if ctx.attempt == 1:
        wait_for("fail")
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
JOBS = 12


def test_nothing_is_lost_and_all_goes_on_when_they_are_back(
    kafka_cluster: Broker, make_cluster_scene: MakeScene
) -> None:
    # Given topics that want all three replicas of a record, and a worker with jobs that run
    scene = make_cluster_scene(SOURCE, kafka_delivery_timeout_ms="1500")
    for topic in ("mail", "mail.retry.100ms"):
        scene.alter(topic, "min.insync.replicas", "3")
    send = scene.job("send")
    ids = [send.enqueue(customer=f"c{n}").id for n in range(JOBS)]
    worker = scene.worker()
    eventually(lambda: len(scene.noted("start")) == JOBS, "they run")

    # When a node dies, and they fail
    node = kafka_cluster.nodes[2]
    node.kill()
    scene.signal("fail")

    # Then an enqueue says that it was not acknowledged, and the worker that it tries again
    with pytest.raises(EnqueueError) as caught:
        send.enqueue(customer="late")
    assert caught.value.retriable
    eventually(lambda: "a commit cycle of" in worker.errors, "moves are not acknowledged")
    assert not scene.noted("end")

    # And when it is back all go on, and no attempt was made twice, though some of what was not
    # acknowledged had been written
    node.start()
    eventually(lambda: set(ids) <= set(scene.noted("end")), "all have ended", within=60)
    attempts = {i: [w[2] for w in scene.journal if w[:2] == ["start", i]] for i in ids}
    assert attempts == {i: ["1", "2"] for i in ids}
    ids.append(eventually(lambda: send.enqueue(customer="c0").id, "one more"))
    eventually(lambda: set(ids) <= set(scene.noted("end")), "it has ended")
    assert worker.stop(60) == 0, worker.errors
    starts = [tuple(words[1:]) for words in scene.journal if words[0] == "start"]
    assert len(starts) == len(set(starts))
