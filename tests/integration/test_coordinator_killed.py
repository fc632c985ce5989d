"""The node that coordinates the group is killed: no cycle hangs, and what ended is committed."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from integration.scene import MakeScene, eventually

from streamjobs.kafka.brokers import Broker, Node
from streamjobs.kafka.cycle import TransactionalProducer
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.settings import load_settings
from streamjobs.testing import GroupProtocol
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import Onward

# Three nodes start, and what is waited for in a test may take longer than others may in all.
pytestmark = pytest.mark.timeout(300)
# Ten seconds until a record counts as not delivered, some 6 s until a call that hangs is ended by
# its connections' idleness, then the abort; on a machine that may be busy with three nodes.
LONGEST = 45.0
# Seconds: a coordinator may be slow to be replaced, and the worker waits for longer than that.
DRAIN_BUDGET = 60
SOURCE = """
app.queue("mail", partitions=1)

@app.job(queue="mail")
def send(ctx: Context) -> None:
    note("start", ctx.job_id)
    wait_for("go")
    note("end", ctx.job_id)
"""


class Cycles:
    """Makes cycles as a worker's loop does, each in a thread, so that one that hangs is noticed."""

    def __init__(
        self,
        make_producer: Callable[[str | None], TransactionalProducer],
        consumer: GroupConsumer,
        topic: str,
    ) -> None:
        self._make_producer, self._consumer, self._topic = make_producer, consumer, topic
        self._producer = make_producer(None)

    def brokers(self) -> int:
        """How many nodes the producer's client knows; 0 if none of them answers yet."""
        try:
            return len(self._producer._producer.list_topics(timeout=5).brokers)
        except KafkaException:
            return 0

    def one(self) -> bool:
        """Make one; whether it was committed."""
        done: list[bool] = []
        thread = threading.Thread(target=lambda: done.append(self._send()), daemon=True)
        thread.start()
        thread.join(LONGEST)
        assert done, f"a cycle hangs for {LONGEST:g} s:\n{where_is(thread)}"
        return done[0]

    def _send(self) -> bool:
        offsets = self._consumer.offsets({(self._topic, 0): (0, "")})
        record = Onward(self._topic, 0, b"k", b"v")
        try:
            self._producer.send([record], offsets, self._consumer.metadata, lambda: False)
        except CycleFailed as error:
            if error.fatal:  # as a worker's commit cycle does it
                same = self._producer.transactional_id if error.stuck else None
                self._producer = self._make_producer(same)
            return False
        return True


def where_is(thread: threading.Thread) -> str:
    """What a thread is in the midst of."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "it has just ended"


def coordinator(cluster: Broker, group: str) -> Node:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    found: Any = admin.describe_consumer_groups([group])[group].result(10).coordinator
    return next(n for n in cluster.nodes if n.address == f"{found.host}:{found.port}")


def test_no_cycle_hangs_and_they_go_on(
    kafka_cluster: Broker, app_name: str, group_protocol: GroupProtocol
) -> None:
    # Given a member of a group that makes cycles
    kafka_cluster.create_topics([TopicSpec(app_name, 1)])
    settings = load_settings({}, bootstrap_servers=kafka_cluster.bootstrap)
    owned: list[Any] = []
    consumer = GroupConsumer(
        settings,
        app_name,
        [app_name],
        protocol=group_protocol,
        on_assigned=owned.extend,
        on_revoked=lambda _: None,
        on_lost=lambda _: None,
    )
    eventually(lambda: consumer.poll(0.1) and owned, "the partition is ours")
    cycles = Cycles(
        lambda same: TransactionalProducer(settings, app_name, fixed=same), consumer, app_name
    )
    eventually(cycles.one, "a cycle is made")

    # When its coordinator is killed, and the producer's client has taken it off its list
    node = coordinator(kafka_cluster, app_name)
    node.kill()
    try:
        eventually(lambda: cycles.brokers() == 2, "the node is off the list")

        # Then a cycle fails or not, but it ends, and soon one is made with the next coordinator
        eventually(lambda: consumer.poll(0.1) and cycles.one(), "a cycle is made again", within=90)
        consumer.close()
    finally:
        node.start()


def test_a_worker_that_is_stopped_meanwhile_waits_with_its_last_commit_for_the_next_one(
    kafka_cluster: Broker, make_cluster_scene: MakeScene
) -> None:
    # Given a worker with a job that runs
    scene = make_cluster_scene(SOURCE)
    worker = scene.worker("--drain-budget", str(DRAIN_BUDGET))
    job = scene.job("send").enqueue().id
    eventually(lambda: scene.noted("start"), "it runs")

    # When the group's coordinator is killed, and the worker is stopped as the job ends
    node = coordinator(kafka_cluster, f"{scene.name}.mail")
    node.kill()
    try:
        worker.signal(signal.SIGTERM)
        eventually(lambda: "stopping" in worker.errors, "it drains")
        scene.signal("go")
        eventually(lambda: scene.noted("end"), "the job ends")
    finally:
        node.start()

    # Then it is committed, and does not run again
    assert worker.wait(90) == 0, worker.errors
    assert "has not taken the last commit" not in worker.errors
    assert scene.worker("--drain").wait(90) == 0
    assert scene.noted("start") == {job: 1}
