"""Taking shards with a million parked jobs: seconds and memory, of the engine and of a worker."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

from confluent_kafka import Producer

from benchmarks.harness import Bench, bench, load
from benchmarks.lines import FRESH, PARTITIONS, app
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import Committed
from streamjobs.headers import Delivery, Failure, Origin, Reason, write_move
from streamjobs.kafka.admin import Admin
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

JOBS = 1_000_000
SECONDS, MEGABYTES = 15.0, 500.0
# What a poll of the worker brings at most, and what the filling producer keeps in memory.
BATCH, ROOM = 1_000, 100_000


class Parked:
    """A record in a tier, as the client would hand it over."""

    __slots__ = ("_headers", "_key", "_offset", "_partition", "_stamp", "_topic")

    def __init__(self, topic: str, partition: int, offset: int, stamp: int) -> None:
        self._topic, self._partition, self._offset, self._stamp = topic, partition, offset, stamp
        self._key, self._headers = _key(partition, offset), _headers("T", partition, offset)

    def topic(self) -> str:  # noqa: D102
        return self._topic

    def partition(self) -> int:  # noqa: D102
        return self._partition

    def offset(self) -> int:  # noqa: D102
        return self._offset

    def key(self) -> bytes:  # noqa: D102
        return self._key

    def value(self) -> bytes:  # noqa: D102
        return b""

    def timestamp(self) -> tuple[int, int]:  # noqa: D102
        return 2, self._stamp

    def leader_epoch(self) -> int:  # noqa: D102
        return 0

    def headers(self) -> list[tuple[str, bytes]]:  # noqa: D102
        return self._headers


def run(jobs: int, runs: int) -> float:
    print(f"\ntaking {PARTITIONS} shards with {jobs:,} parked keys")
    print(f"{'run':>6} {'engine: s':>10} {'CPU s':>6} {'MB':>5}", end="")
    print(f" {'worker: s':>10} {'CPU s':>6} {'MB':>5} {'load':>6}", flush=True)
    seen: list[tuple[float, float]] = []
    with bench(app, "line") as place:
        _park(place, jobs)
        for number in range(1, runs + 1):
            alone = place.python("-m", "benchmarks.rebuild", str(jobs))
            whole = _worker(place, number)
            seen.append((max(alone["seconds"], whole["seconds"]), whole["megabytes"]))
            told = " ".join(
                f"{x['seconds']:>10.1f} {x['cpu']:>6.1f} {x['megabytes']:>5.0f}"
                for x in (alone, whole)
            )
            print(f"{number:>6} {told} {load():>6}", flush=True)
    seconds, megabytes = (median(column) for column in zip(*seen, strict=True))
    print(f"median {seconds:.1f} s (under {SECONDS:g}), {megabytes:.0f} MB (under {MEGABYTES:g})")
    return float(seconds)


def engine_alone(jobs: int) -> dict[str, float]:
    """Rebuild in this process; what the records themselves cost is left out."""
    topics = QueueTopics("shop", "mail")
    tier, each = topics.tier(3600), jobs // PARTITIONS
    stamp = round(time.time() * 1000)
    engine = Engine(Ladder(topics, (topics.main,), {tier: 3600.0}, (3600.0,), {topics.main: "T"}))
    engine.assigned([(topic, n) for topic in (topics.main, tier) for n in range(PARTITIONS)])
    for number in engine.take_questions():
        committed = {topics.main: Committed(each), tier: Committed(0)}
        engine.taken(number, committed, {tier: each}, stamp / 1000)
    seconds = cpu = 0.0
    before = resident("self")
    for begin in range(0, each, BATCH):
        offsets = range(begin, min(each, begin + BATCH))
        for number in range(PARTITIONS):
            batch = [Parked(tier, number, offset, stamp) for offset in offsets]
            wall, busy = time.perf_counter(), time.process_time()
            engine.received(batch, stamp / 1000)
            seconds += time.perf_counter() - wall
            cpu += time.process_time() - busy
            engine.take_flow()
    assert engine.parked_keys == each * PARTITIONS
    return {"seconds": seconds, "cpu": cpu, "megabytes": resident("self") - before}


def _worker(place: Bench, turn: int) -> dict[str, float]:
    """From a worker that owns its partitions to the start of a fresh job in each of them."""
    place.python("-m", "benchmarks.lines", "fresh")
    with place.running("--log-level", "info") as worker:
        place.wait_for(lambda: ": assigned" in worker.log)
        began, busy, before = time.monotonic(), cpu_seconds(worker.pid), resident(worker.pid)
        place.wait_for(lambda: len(place.notes("fresh")) == FRESH * turn, within=180)
        seconds, cpu = time.monotonic() - began, cpu_seconds(worker.pid) - busy
        return {"seconds": seconds, "cpu": cpu, "megabytes": resident(worker.pid) - before}


def _park(place: Bench, jobs: int) -> None:
    """Fill the longest tier as a worker's moves would: keys of their own, and valid headers."""
    main, tier = place.topics.main, place.topics.tier(3600)
    with Admin(Settings(bootstrap_servers=place.broker.bootstrap)) as admin:
        topic_id = admin.topics([main])[main].topic_id
    producer = Producer(
        {
            "bootstrap.servers": place.broker.bootstrap,
            "linger.ms": 50,
            "queue.buffering.max.messages": 2 * ROOM,
        }
    )
    for number in range(jobs):
        offset, partition = divmod(number, PARTITIONS)
        key, headers = _key(partition, offset), _headers(topic_id, partition, offset)
        if len(producer) >= ROOM:
            producer.flush()
        producer.produce(tier, b"{}", key, partition, headers=[*headers])
    assert producer.flush(60) == 0


def _key(partition: int, offset: int) -> bytes:
    return b"customer-%d-%d" % (partition, offset)


def _headers(topic_id: str, partition: int, offset: int) -> list[tuple[str, bytes]]:
    return write_move(
        delivery=Delivery(attempts=1, rung=1, origin=Origin(topic_id, partition, offset)),
        reason=Reason.FAILED,
        failure=Failure("ValueError", "no luck", "Traceback: one line"),
        failed_at_ms=1_800_000_000_000,
        worker="host-1234-abcd",
    )


def resident(pid: int | str) -> float:
    """The most memory a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peak: str = status.split("VmHWM:")[1].split()[0]
    return int(peak) / 1000


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(engine_alone(int(sys.argv[1]))))
