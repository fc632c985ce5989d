"""Retries that fall due while a million jobs wait in main: how late do they begin?"""

from __future__ import annotations

from statistics import median

from benchmarks.harness import Bench, bench, load
from benchmarks.lines import DELAYS, LATE, app
from streamjobs.kafka.brokers import Broker, start_broker

JOBS = 1_000_000
# Seconds that the shortest delay takes, and that a due retry may be late.
DELAY, MOST = float(DELAYS[0].removesuffix("s")), 1.0


def run(jobs: int, runs: int) -> float:
    print(f"\n{LATE} jobs that fail once ({DELAYS[0]}), and {jobs:,} no-op jobs behind them;")
    print("seconds from when a retry is due until it begins")
    print(f"{'run':>6} {'median, s':>10} {'worst, s':>10} {'others left':>12} {'load':>6}")
    worst = 0.0
    with start_broker("kafka") as broker:
        for number in range(1, runs + 1):
            waits, left = _once(broker, jobs)
            worst = max(worst, *waits)
            told = f"{median(waits):>10.3f} {max(waits):>10.3f} {left:>12,}"
            print(f"{number:>6} {told} {load():>6}", flush=True)
    print(f"latest: {worst:.2f} s (at most {MOST:g})", flush=True)
    return worst


def _once(broker: Broker, jobs: int) -> tuple[list[float], int]:
    with bench(app, "line", broker) as place:
        place.python("-m", "benchmarks.lines", "late", str(jobs))
        place.python(*place.worker("--drain"), BENCH_OTHERS=str(jobs), BENCH_EVERY="1000")
        began = {words[1]: float(words[2]) for words in place.notes("late")}
        due = _due(place)
        assert began.keys() == due.keys(), "each has one retry"
        last = max(began.values())
        done = max(int(w[1]) for w in place.notes("other") if float(w[2]) <= last)
        return [began[key] - due[key] for key in due], jobs - done


def _due(place: Bench) -> dict[str, float]:
    """When each retry was due, by its key: its record's stamp and the delay."""
    records = place.records(place.topics.tier(round(DELAY)))
    return {(r.key or b"").decode(): r.timestamp_ms / 1000 + DELAY for r in records}
