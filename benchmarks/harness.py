"""A broker for the runs, a process for each, and the comparison of their medians."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

from confluent_kafka.admin import AdminClient

from benchmarks.jobs import app
from streamjobs import App
from streamjobs.codec import Encoder
from streamjobs.headers import read_delivery
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.reader import Record, read
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

RUN_SECONDS = 600
# The module whose app has the queue.
MODULES = {"noop": "jobs", "line": "lines"}


@dataclass(frozen=True)
class Running:
    """A worker process, and what it logs."""

    pid: int
    path: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Bench:
    """A broker with the topics of one namespace.

    Attributes:
        broker: an Apache Kafka of one node.
        topics: of the queue that is measured.
        environ: of the processes that are measured.
    """

    broker: Broker
    topics: QueueTopics
    environ: dict[str, str]

    def python(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """Run ``python ARGUMENTS`` and return the JSON on its last line."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_SECONDS,
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def worker(self, *options: str) -> list[str]:
        """The arguments of a worker of the queue, for ``python``."""
        app = f"benchmarks.{MODULES[self.topics.queue]}:app"
        command = ["-m", "streamjobs.cli.main", "-A", app, "worker", "-q", self.topics.queue]
        return [*command, "--json", "--log-level", "warning", *options]

    @contextmanager
    def running(self, *options: str) -> Iterator[Running]:
        """A worker that runs meanwhile."""
        with NamedTemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, *self.worker(*options)],
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
            try:
                yield Running(process.pid, Path(log.name))
            finally:
                process.terminate()
                process.wait(30)

    def wait_for(self, true: Callable[[], bool], within: float = 60.0) -> None:
        """Ask until it is true.

        Raises:
            TimeoutError: it is not.
        """
        pause, deadline = threading.Event(), time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within:g} s")
            pause.wait(0.02)

    def notes(self, kind: str) -> list[list[str]]:
        """The lines that handlers wrote and that begin with ``kind``, in words."""
        text = Path(self.environ["BENCH_NOTES"]).read_text(encoding="utf-8")
        return [words for line in text.splitlines() if (words := line.split())[0] == kind]

    def records(self, *topics: str) -> list[Record]:
        """What lies in these topics."""
        settings = Settings(bootstrap_servers=self.broker.bootstrap)
        with Admin(settings) as admin:
            there = admin.topics(topics)
            partitions = [(t, p) for t in there for p in range(there[t].partitions)]
            logs = admin.watermarks(partitions)
        return list(read(settings, {place: (x.start, x.end) for place, x in logs.items()}))

    def moved(self) -> Counter[tuple[int, int]]:
        """How often the job that stood at each partition and offset of main was moved."""
        with Admin(Settings(bootstrap_servers=self.broker.bootstrap)) as admin:
            tiers = self.topics.tiers_among(admin.topics())
        origins = (read_delivery(r.headers, rung=1).origin for r in self.records(*tiers))
        return Counter((x.partition, x.offset) for x in origins if x is not None)

    def forget_group(self) -> None:
        """Remove the offsets of the queue's group, so that the next run begins at the start."""
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        for future in admin.delete_consumer_groups([self.topics.group]).values():
            future.result()


@contextmanager
def bench(
    measured: App = app, queue: str = "noop", running: Broker | None = None
) -> Iterator[Bench]:
    """Create the topics of an app, of which one queue is measured; without a broker, start one."""
    namespace = f"bench-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        broker = running or stack.enter_context(start_broker("kafka"))
        notes = stack.enter_context(NamedTemporaryFile())
        broker.create_topics(measured.registry.topic_specs(namespace))
        ours = {
            "STREAMJOBS_BOOTSTRAP_SERVERS": broker.bootstrap,
            "STREAMJOBS_NAMESPACE": namespace,
            "BENCH_NOTES": notes.name,
        }
        yield Bench(broker, QueueTopics(namespace, queue), {**os.environ, **ours})


def load() -> str:
    """The machine's load average of the last minute: what else it had to do."""
    return f"{os.getloadavg()[0]:.1f}"


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
