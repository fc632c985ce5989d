"""What the log says: committed offsets while a campaign runs, and every record at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from confluent_kafka import Consumer, KafkaException, TopicPartition
from history.model import Place, Sample, Stored

from streamjobs.app import App
from streamjobs.codec import Decoder
from streamjobs.engine.metadata import read as read_told
from streamjobs.errors import InvalidRecord, UnknownJob
from streamjobs.headers import ORIGIN, WORKER, first_values, read_delivery, read_origin
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.config import consumer_config
from streamjobs.kafka.reader import Record, read

# Seconds between samples, and until new topics are seen by every node.
INTERVAL, VISIBLE = 0.25, 20.0


class Sampler:
    """Asks for the committed offsets again and again, in a thread of its own.

    Args:
        app: whose.
        places: partitions of main and tiers.
    """

    def __init__(self, app: App, places: list[Place]) -> None:
        group = app.registry.find_queue("work").topics(app.prefix).group
        # Of no group, and uncommitted: it does not wait for open transactions.
        config = consumer_config(
            app.settings, group, group_protocol="classic", isolation_level="read_uncommitted"
        )
        self._consumer = Consumer(config)
        self._places = [TopicPartition(*place) for place in places]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask a last time, and end."""
        self._stop.set()
        self._thread.join()
        self._ask(10.0)
        self._consumer.close()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._ask(1.0)

    def _ask(self, timeout: float) -> None:
        asked = time.monotonic_ns()
        try:
            answer = self._consumer.committed(self._places, timeout=timeout)
        except KafkaException:
            return  # brokers are being killed
        at, offsets, above = time.monotonic_ns(), dict[Place, int](), dict[Place, tuple[int, ...]]()
        for p in answer:
            if p.offset >= 0:
                place = (p.topic, p.partition)
                offsets[place], told = p.offset, read_told(p.metadata, p.offset)
                above[place] = () if told is None else told.above.bounds
        self.samples.append(Sample(at, offsets, above, asked))


def places_of(app: App, admin: Admin) -> tuple[list[Place], list[Place]]:
    """The partitions of main and tiers, and those of the DLQ."""
    topics = app.registry.find_queue("work").topics(app.prefix)
    there = admin.topics(None)
    deadline = time.monotonic() + VISIBLE
    while topics.main not in there or topics.dlq not in there:
        # A node that came up last hears of new topics last.
        if time.monotonic() > deadline:
            raise LookupError(f"{topics.main} and {topics.dlq} are not there after {VISIBLE:g} s")
        time.sleep(0.1)
        there = admin.topics(None)
    names = [*topics.mains, *topics.tiers_among(there)]
    read_by_workers = [(name, p) for name in names for p in range(there[name].partitions)]
    return read_by_workers, [(topics.dlq, p) for p in range(there[topics.dlq].partitions)]


def stored_records(app: App) -> tuple[list[Stored], dict[Place, int]]:
    """Every record of the queue's topics, and where main and tiers end."""
    with Admin(app.settings) as admin:
        worked, dead = places_of(app, admin)
        logs = admin.watermarks([*worked, *dead])
    records = read(app.settings, {p: (x.start, x.end) for p, x in logs.items()})
    make = _reader(app)
    return [make(r) for r in records], {place: logs[place].end for place in worked}


def _reader(app: App) -> Callable[[Record], Stored]:
    topics = app.registry.find_queue("work").topics(app.prefix)
    decoder = Decoder(app.name, app.registry, app.store)
    shift = time.time_ns() - time.monotonic_ns()

    def make(record: Record) -> Stored:
        kind: Literal["main", "tier", "dlq"] = "tier"
        if record.topic == topics.main:
            kind = "main"
        elif record.topic == topics.dlq:
            kind = "dlq"
        job, parent = _decoded(decoder, record.value)
        at = record.timestamp_ms * 1_000_000 - shift
        place = (record.topic, record.partition, record.offset)
        if kind == "main":
            origin = place[1:]
            return Stored(kind, *place, at, record.key, record.value, job, origin, parent=parent)
        delivery = read_delivery(record.headers, rung=0)
        headers = first_values(record.headers)
        told = read_origin(headers.get(ORIGIN))
        origin = (-1, -1) if told is None else (told.partition, told.offset)
        return Stored(
            kind, *place, at, record.key, record.value, job, origin,
            delivery.attempts, delivery.waiting, by=_pid(headers.get(WORKER)),
        )  # fmt: skip

    return make


def _pid(worker: bytes | None) -> int | None:
    """The process id in a worker's name, HOST-PID-RANDOM."""
    parts = (worker or b"").decode().rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None


def _decoded(decoder: Decoder, value: bytes | None) -> tuple[str | None, str | None]:
    try:
        _, envelope = decoder.decode(value)
    except (InvalidRecord, UnknownJob):
        return None, None
    return envelope.id, envelope.args.get("parent")
