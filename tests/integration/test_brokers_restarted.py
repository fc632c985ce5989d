"""Nodes of a cluster are restarted one by one, then one is killed: jobs go in and run, in order.

The worker notices next to nothing: a group outlives the node that coordinates it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread

import pytest
from confluent_kafka.admin import AdminClient
from integration.scene import MakeScene, Scene, eventually

from streamjobs.errors import EnqueueError
from streamjobs.kafka.brokers import Broker, Node

# Three nodes start, are stopped and started again, and one once more: each has its own limit.
pytestmark = pytest.mark.timeout(300)
SOURCE = """
app.queue("mail", partitions=3, retry=Retry(delays=("200ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt, customer, number)
    if number % 10 == 3 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
KEYS = 20
logger = logging.getLogger(__name__)
# Seconds that a job may take to be acknowledged: a leader that died is replaced after some seconds.
PATIENCE = 60.0


class Stream:
    """Enqueues one job after the other until it is stopped; each is waited for."""

    def __init__(self, scene: Scene) -> None:
        self.sent: list[str] = []
        self.error: BaseException | None = None
        self._send, self._stopped = scene.job("send"), Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for n in count():
                if self._stopped.wait(0.005):
                    return
                try:
                    job = self._send.enqueue(f"c{n % KEYS}", n // KEYS)
                except EnqueueError as error:
                    logger.warning("not acknowledged, it may be there or not: %s", error)
                    continue
                self.sent.append(job.id)
        except BaseException as error:  # told by ``stop``, in the test's thread
            self.error = error

    def end(self) -> None:
        """Enqueue no more; what went wrong is not told."""
        self._stopped.set()
        self._thread.join(PATIENCE)

    def stop(self) -> None:
        self.end()
        assert self.error is None
        assert not self._thread.is_alive()


def leader(cluster: Broker, topic: str) -> Node:
    """The node that leads the topic's first partition."""
    found = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(topic, timeout=10)
    at = found.brokers[found.topics[topic].partitions[0].leader]
    return next(n for n in cluster.nodes if n.address == f"{at.host}:{at.port}")


def test_a_rolling_restart_and_a_killed_leader_lose_and_reorder_nothing(
    kafka_cluster: Broker, make_cluster_scene: MakeScene
) -> None:
    # Given a worker, and jobs that come all the time
    scene = make_cluster_scene(SOURCE)
    worker = scene.worker()
    stream = Stream(scene)
    try:
        goes_on(scene)

        # When each node is restarted in turn, and when a leader is killed and comes back
        for node in kafka_cluster.nodes:
            with down(node.stop, node.start):
                goes_on(scene)
            goes_on(scene)
        killed = leader(kafka_cluster, f"{scene.name}.mail")
        with down(killed.kill, killed.start):
            goes_on(scene)
        goes_on(scene)
    finally:
        stream.end()
    stream.stop()

    # Then every job that was acknowledged has run, each key's in their order
    eventually(lambda: not set(stream.sent) - set(scene.noted("end")), "all have run", within=60)
    assert worker.stop(60) == 0, worker.errors
    judge_order(scene)

    # And none twice, since no worker was killed, and nothing was taken from the one there was
    attempts = Counter((w[1], w[2]) for w in scene.journal if w[0] == "start")
    assert set(attempts.values()) == {1}, worker.errors
    assert worker.errors.count(": assigned") == 1, worker.errors
    assert ": lost" not in worker.errors, worker.errors


def judge_order(scene: Scene) -> None:
    """Demand that each key's jobs began in their order; refused numbers may be missing."""
    seen: dict[str, set[int]] = {}
    for _, _, _, customer, number in (w for w in scene.journal if w[0] == "start"):
        begun = seen.setdefault(customer, set())
        again = int(number) in begun
        assert again or int(number) > max(begun, default=-1), "a job was passed over"
        begun.add(int(number))


@contextmanager
def down(end: Callable[[], None], start: Callable[[], None]) -> Iterator[None]:
    """Have a node down; it starts again in any case: others use the cluster too."""
    end()
    try:
        yield
    finally:
        start()


def goes_on(scene: Scene) -> None:
    """See that jobs run."""
    before = len(scene.noted("end"))
    eventually(lambda: len(scene.noted("end")) > before + 20, "jobs run", within=PATIENCE)
