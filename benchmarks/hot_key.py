"""A parked key with 10,000 followers: their order, their moves, and what other keys notice."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.harness import bench, load
from benchmarks.lines import app
from streamjobs.kafka.brokers import Broker, start_broker

# Some seconds of work: about as long as the head waits.
JOBS = 600_000
FOLLOWERS = 10_000
MOST_MOVES, LEAST_SHARE = 3.0, 0.8


@dataclass(frozen=True)
class Seen:
    """What one run came to: other keys' jobs/s, moves per follower, whether order was kept."""

    rate: float
    moves: float
    in_order: bool


def run(jobs: int, runs: int) -> float:
    print(f"\n{jobs:,} no-op jobs; then behind a hot key, whose head fails twice (1 s, 5 s)")
    print(f"while {FOLLOWERS:,} followers wait")
    print(f"{'run':>6} {'without, jobs/s':>16} {'with':>10} {'moves/follower':>15} {'load':>6}")
    plain, hot = [], []
    with start_broker("kafka") as broker:
        for number in range(1, runs + 1):
            plain.append(_once(broker, jobs, 0))
            hot.append(_once(broker, jobs, FOLLOWERS))
            rates = f"{plain[-1].rate:>16,.0f} {hot[-1].rate:>10,.0f}"
            print(f"{number:>6} {rates} {hot[-1].moves:>15.2f} {load():>6}", flush=True)
    share = median(seen.rate for seen in hot) / median(seen.rate for seen in plain)
    moves = max(seen.moves for seen in hot)
    print(
        f"other keys: ratio {share:.2f} (at least {LEAST_SHARE}); moves per follower: {moves:.2f} "
        f"(at most {MOST_MOVES:g}); all in order: {all(seen.in_order for seen in hot)}",
        flush=True,
    )
    return share


def _once(broker: Broker, jobs: int, followers: int) -> Seen:
    with bench(app, "line", broker) as place:
        place.python("-m", "benchmarks.lines", "fill", str(jobs), str(followers))
        report = place.python(*place.worker("--drain"), BENCH_OTHERS=str(jobs))
        line = followers and followers + 1
        assert report["succeeded"] == jobs + line, report
        ends = {words[1]: float(words[2]) for words in place.notes("other")}
        numbers = [int(words[1]) for words in place.notes("hot")]
        moves = place.moved().total() - report["retried"]
        rate = jobs / (ends[str(jobs)] - ends["1"])
        return Seen(rate, moves / max(1, followers), numbers == list(range(line)))
