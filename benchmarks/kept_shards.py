"""While a worker gives shards back, for as long as their jobs run: how silent are the others?"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from benchmarks.harness import Bench, bench, load
from benchmarks.lines import LONG, PARTITIONS, RATE, app
from streamjobs.kafka.brokers import Broker, start_broker

# Jobs of the stream: 12 s of it.
JOBS = 1_200
# Seconds, of shards that are kept.
MOST = 1.0


def run(jobs: int, runs: int) -> float:
    print(f"\n{PARTITIONS} shards with jobs of {LONG:g} s in each and {RATE} short ones/s, and a")
    print("worker that joins; seconds without a start in a shard: the longest of those that stay")
    print("where they are, and of those that move")
    print(f"{'run':>6} {'groups':>9} {'stay, s':>10} {'move, s':>10} {'load':>6}")
    worst = 0.0
    with start_broker("kafka") as broker:
        for number in range(1, runs + 1):
            for protocol in ("consumer", "classic"):
                stay, move = _once(broker, jobs, protocol)
                if protocol == "consumer":
                    worst = max(worst, stay)
                told = f"{number:>6} {protocol:>9} {stay:>10.2f} {move:>10.2f}"
                print(f"{told} {load():>6}", flush=True)
    print(f"longest of those that stay, under KIP-848: {worst:.2f} s (at most {MOST:g})")
    return worst


def _once(broker: Broker, jobs: int, protocol: str) -> tuple[float, float]:
    """The longest silences of shards that stay, and of those that move."""
    with bench(app, "line", broker) as place, ThreadPoolExecutor(1) as beside:
        place.environ["STREAMJOBS_GROUP_PROTOCOL"] = protocol
        running = place.python("-m", "benchmarks.lines", "long")["enqueued"]
        with place.running("--concurrency", "64") as first:
            place.wait_for(lambda: len(place.notes("long")) == running)
            stream = beside.submit(place.python, "-m", "benchmarks.lines", "stream", str(jobs))
            place.wait_for(lambda: len(place.notes("fresh")) > RATE)
            with place.running("--concurrency", "64"):
                stream.result()
                place.wait_for(lambda: len(place.notes("fresh")) == jobs)
        return _silences(place, first.pid)


def _silences(place: Bench, first: int) -> tuple[float, float]:
    where = {r.key: r.partition for r in place.records(place.topics.main)}
    starts: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for _, customer, pid, at in place.notes("fresh"):
        starts[where[customer.encode()]].append((float(at), int(pid)))
    longest = {True: 0.0, False: 0.0}
    for begun in starts.values():
        begun.sort()
        stays = all(pid == first for _, pid in begun)
        silence = max(after[0] - before[0] for before, after in pairwise(begun))
        longest[stays] = max(longest[stays], silence)
    assert all(longest.values()), "some stay, and some move"
    return longest[True], longest[False]
