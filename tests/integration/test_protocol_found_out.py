"""``STREAMJOBS_GROUP_PROTOCOL=auto``: a worker asks the broker which group protocol it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from integration.scene import Scene, eventually, scene_of

from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.config import admin_config
from streamjobs.testing import need_kafka

SOURCE = """
from streamjobs.kafka import protocol

if IN_WORKER:
    protocol.PROBE_TIMEOUT = 20.0  # who is silent for longer is taken for an old broker

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", customer)
"""
# As operators switch KIP-848 off: the broker still knows the request and refuses it.
SWITCHED_OFF = {"group.coordinator.rebalance.protocols": "classic"}
JOBS = 20


def kind_of_group(scene: Scene) -> str:
    """What the broker says of the queue's group."""
    client = AdminClient(admin_config(scene.app.settings))
    answer: Any = client.list_consumer_groups().result(20)
    (kind,) = [each.type.name for each in answer.valid if each.group_id == f"{scene.name}.mail"]
    return str(kind).lower()


def runs_with(scene: Scene, protocol: str) -> None:
    """Demand that a worker that is told nothing runs jobs, in a group of this protocol."""
    # Given jobs, each of which fails once
    send = scene.job("send")
    assert scene.app.enqueue_many(send.call(f"c{n}") for n in range(JOBS)).sent == JOBS

    # When a worker is started that has to find out
    worker = scene.worker()
    eventually(lambda: len(scene.noted("end")) == JOBS, "all have run")

    # Then it has, and its group is of that protocol
    assert f"group protocol: {protocol}, as the broker answered" in worker.errors
    assert kind_of_group(scene) == protocol
    assert worker.stop() == 0, worker.errors
    assert scene.noted("end") == {f"c{n}": 1 for n in range(JOBS)}
    assert scene.lag() == 0


@pytest.fixture
def scene_on(tmp_path: Path, app_name: str) -> Iterator[Callable[[Broker], Scene]]:
    """A scene whose workers are told no protocol, on a broker of the test's own choice."""
    with ExitStack() as stack:

        def make(broker: Broker) -> Scene:
            settings: Mapping[str, str] = {"bootstrap": broker.bootstrap, "group_protocol": "auto"}
            return stack.enter_context(scene_of(SOURCE, folder=tmp_path, name=app_name, **settings))

        yield make


def test_where_the_newer_one_is_there_it_is_taken(
    kafka_broker: Broker, scene_on: Callable[[Broker], Scene]
) -> None:
    runs_with(scene_on(kafka_broker), "consumer")


def test_where_it_is_switched_off_the_older_one_is_taken(
    scene_on: Callable[[Broker], Scene],
) -> None:
    need_kafka(own=True)
    with start_broker("kafka", properties=SWITCHED_OFF) as broker:
        runs_with(scene_on(broker), "classic")
