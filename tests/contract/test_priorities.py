"""Priorities against a log: each has its topic, and what waits is counted for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from streamjobs import App, InvalidArguments
from streamjobs.handle import Job
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.reader import read
from streamjobs.status import queue_status

PRIORITIES = ("high", "normal", "low")


@pytest.fixture
def app(any_broker: Broker, app_name: str) -> Iterator[App]:
    with App(app_name, bootstrap_servers=any_broker.bootstrap) as made:
        made.queue("mail", partitions=2, priorities=PRIORITIES)
        any_broker.create_topics(made.registry.topic_specs(app_name))
        yield made


def a_job(app: App) -> Job[[str], None]:
    @app.job(queue="mail", key="name")
    def greet(name: str) -> None: ...

    return greet


def keys_by_priority(app: App) -> dict[str, Counter[bytes | None]]:
    topics = app.registry.queues["mail"].topics(app.prefix)
    places = [(main, p) for main in topics.mains for p in range(2)]
    with Admin(app.settings) as admin:
        logs = admin.watermarks(places)
    found: dict[str, Counter[bytes | None]] = {}
    for record in read(app.settings, {p: (log.start, log.end) for p, log in logs.items()}):
        found.setdefault(record.topic.rsplit(".", 1)[1], Counter())[record.key] += 1
    return found


def test_a_job_lands_in_the_topic_of_its_priority(app: App) -> None:
    # Given a job of a queue with priorities
    greet = a_job(app)
    high, low = greet.options(priority="high"), greet.options(priority="low")

    # When it is enqueued in every way there is
    refs = [greet.enqueue("a"), high.enqueue("a"), low.enqueue("a")]
    app.enqueue_many([high.call("b"), greet.call("b"), high.call("b")])
    app.enqueue_rows(low, [{"name": "c"}])
    with pytest.raises(InvalidArguments, match="has high, normal, low"):
        greet.options(priority="urgent")

    # Then each is in its priority's topic, at the same partition for one key
    assert [ref.topic.removeprefix(f"{app.name}.mail.") for ref in refs] == [
        "normal",
        "high",
        "low",
    ]
    assert len({ref.partition for ref in refs}) == 1
    assert keys_by_priority(app) == {
        "high": {b"a": 1, b"b": 2},
        "normal": {b"a": 1, b"b": 1},
        "low": {b"a": 1, b"c": 1},
    }

    # And the status counts all, and each
    status = queue_status(app.settings, app.registry.queues["mail"].topics(app.prefix))
    assert status.waiting == 7
    assert status.waiting_by_priority == {"high": 3, "normal": 2, "low": 2}
    assert status.as_json()["waiting_by_priority"] == status.waiting_by_priority
