"""A key that is fed 100 jobs/s while its head waits: how soon does it run from main again?"""

from __future__ import annotations

from benchmarks.harness import Bench, bench, load
from benchmarks.lines import FED, RATE, app
from streamjobs.kafka.brokers import Broker, start_broker

# Jobs of each key: 12 s, of which the heads wait 1 s and 6 s.
JOBS = 1_200
MOST = 3.0


def run(jobs: int, runs: int) -> float:
    print(
        f"\nkeys fed {RATE} jobs/s; seconds from their head's success, after it failed once (1 s)"
    )
    print("or twice (1 s, 5 s), until the last job that was moved for it runs")
    print(f"{'run':>6} {'once, s':>10} {'moved':>7} {'twice, s':>10} {'moved':>7} {'load':>6}")
    worst = 0.0
    with start_broker("kafka") as broker:
        for number in range(1, runs + 1):
            once, twice = _once(broker, jobs)
            worst = max(worst, once[0], twice[0])
            told = " ".join(f"{seconds:>10.2f} {moved:>7}" for seconds, moved in (once, twice))
            print(f"{number:>6} {told} {load():>6}", flush=True)
    print(f"longest: {worst:.2f} s (at most 2 x the shortest delay + 1 s: {MOST:g})", flush=True)
    return worst


def _once(broker: Broker, jobs: int) -> list[tuple[float, int]]:
    with bench(app, "line", broker) as place:
        with place.running():
            place.python("-m", "benchmarks.lines", "feed", str(jobs))
            place.wait_for(lambda: all(len(place.notes(key)) == jobs for key in FED))
        return [_back(place, key) for key in FED]


def _back(place: Bench, key: str) -> tuple[float, int]:
    """When the last moved job of a key began, counted from its head's success; and how many."""
    notes = place.notes(key)
    assert [int(words[1]) for words in notes] == list(range(len(notes))), f"{key}: out of order"
    begun = [float(words[2]) for words in notes]
    topics = place.topics
    line = [r for r in place.records(topics.main) if r.key == key.encode()]
    moved = place.moved()
    numbers = [n for n, r in enumerate(line) if n and (r.partition, r.offset) in moved]
    return begun[max(numbers, default=0)] - begun[0], len(numbers)
