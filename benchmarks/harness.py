"""A broker for the runs, a process for each, and the comparison of their medians."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from confluent_kafka.admin import AdminClient

from benchmarks.jobs import app
from streamjobs.codec import Encoder
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.topics import QueueTopics

RUN_SECONDS = 600


@dataclass(frozen=True)
class Bench:
    """A broker with the topics of one namespace.

    Attributes:
        broker: an Apache Kafka of one node.
        topics: of the queue ``noop``.
        environ: of the processes that are measured.
    """

    broker: Broker
    topics: QueueTopics
    environ: dict[str, str]

    def python(self, *arguments: str) -> dict[str, Any]:
        """Run ``python ARGUMENTS`` and return the JSON on its last line."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_SECONDS,
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def forget_group(self) -> None:
        """Remove the offsets of the queue's group, so that the next run begins at the start."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for future in admin.delete_consumer_groups([self.topics.group]).values():
            future.result()


@contextmanager
def bench() -> Iterator[Bench]:
    """Start a broker and create the topics."""
    namespace = f"bench-{secrets.token_hex(4)}"
    with start_broker("kafka") as broker:
        broker.create_topics(app.registry.topic_specs(namespace))
        ours = {
            "STREAMJOBS_BOOTSTRAP_SERVERS": broker.bootstrap,
            "STREAMJOBS_NAMESPACE": namespace,
        }
        yield Bench(broker, QueueTopics(namespace, "noop"), {**os.environ, **ours})


def schema() -> str:
    """The writer schema of the measured job, as JSON."""
    return Encoder(app.name, app.registry.find_job("noop")).schema


def compare(
    title: str,
    bare: Callable[[], dict[str, Any]],
    ours: Callable[[], dict[str, Any]],
    runs: int,
) -> float:
    """Run both in turn, print every rate and the ratio of the medians, and return it."""
    print(f"\n{title}\n{'run':>6} {'bare, jobs/s':>14} {'streamjobs':>14}", flush=True)
    rates: list[tuple[float, float]] = []
    for run in range(1, runs + 1):
        first, second = bare(), ours()
        rates.append((first["jobs"] / first["seconds"], second["jobs"] / second["seconds"]))
        print(f"{run:>6} {rates[-1][0]:>14,.0f} {rates[-1][1]:>14,.0f}", flush=True)
    middle = [median(column) for column in zip(*rates, strict=True)]
    ratio: float = middle[1] / middle[0]
    print(f"{'median':>6} {middle[0]:>14,.0f} {middle[1]:>14,.0f}   ratio {ratio:.2f}", flush=True)
    return ratio
