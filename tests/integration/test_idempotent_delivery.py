"""``delivery="idempotent"``: the whole way without transactions, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.scene import scene_of

from streamjobs.kafka.brokers import start_broker
from streamjobs.kafka.brokers.broker import Broker
from streamjobs.testing import GroupProtocol
from streamjobs.topics import QueueTopics, queue_specs, schemas_spec

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms", "200ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id)
    if number == 0 or (number == 1 and ctx.attempt == 1):
        raise ValueError("no")
    note("end", ctx.job_id)
"""


@pytest.mark.parametrize("engine", ["embedded", "kafka"])
def test_the_whole_way_without_transactions(
    engine: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    app_name: str,
    group_protocol: GroupProtocol,
) -> None:
    # Given a broker of each kind
    if engine == "kafka":
        broker: Broker = request.getfixturevalue("kafka_broker")
        run(broker.bootstrap, tmp_path, app_name, group_protocol)
    else:
        topics = queue_specs(QueueTopics(app_name, "mail"), partitions=2, delays=(0.1, 0.2))
        with start_broker("embedded", topics=[schemas_spec(app_name), *topics]) as broker:
            run(broker.bootstrap, tmp_path, app_name, group_protocol)


def run(bootstrap: str, folder: Path, name: str, protocol: GroupProtocol) -> None:
    settings = {"delivery": "idempotent", "group_protocol": protocol}
    with scene_of(SOURCE, folder=folder, name=name, bootstrap=bootstrap, **settings) as scene:
        # Given jobs that succeed, need two tries, and die
        send = scene.job("send")
        refs = [send.enqueue(customer="c", number=n) for n in range(5)]

        # When a worker drains the queue
        worker = scene.worker("--drain")
        assert worker.wait() == 0, worker.errors

        # Then every way was gone to its end
        assert scene.noted("start") == {
            refs[0].id: 3,
            refs[1].id: 2,
            **{ref.id: 1 for ref in refs[2:]},
        }
        assert set(scene.noted("end")) == {ref.id for ref in refs[1:]}
        assert [letter["id"] for letter in scene.dead()] == [refs[0].id]
