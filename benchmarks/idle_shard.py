"""Taking shards in which there is nothing to do: how long until they are open?"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Bench, bench, load
from benchmarks.lines import FRESH, PARTITIONS, app
from streamjobs.failpoints import HIT_BYTES, VARIABLE
from streamjobs.kafka.brokers import Broker, start_broker

# Fresh jobs first, so that there are offsets and what stands beside them.
JOBS = FRESH
MOST = 100.0


def run(jobs: int, runs: int) -> float:  # noqa: ARG001 - there is nothing to do
    print(f"\ntaking {PARTITIONS} shards of three retry topics each, all of them done;")
    print("milliseconds from their assignment until the last of them is open")
    print(f"{'run':>6} {'given back, ms':>15} {'its owner killed, ms':>21} {'load':>6}")
    worst = 0.0
    with start_broker("kafka") as broker:
        for number in range(1, runs + 1):
            clean, killed = _once(broker)
            worst = max(worst, clean, killed)
            print(f"{number:>6} {clean:>15.0f} {killed:>21.0f} {load():>6}", flush=True)
    each = worst / PARTITIONS
    print(f"longest: {worst:.0f} ms for all, {each:.0f} ms a shard (at most {MOST:g})", flush=True)
    return each


def _once(broker: Broker) -> tuple[float, float]:
    with bench(app, "line", broker) as place:
        place.python("-m", "benchmarks.lines", "fresh")
        place.python(*place.worker("--drain"))
        clean = _take(place, kill=True)
        return clean, _take(place, kill=False)


def _take(place: Bench, *, kill: bool) -> float:
    """Milliseconds that a worker needs, which is killed or told to stop afterwards."""
    with TemporaryDirectory() as folder:
        hits = Path(folder) / "hits"
        place.environ[VARIABLE] = str(hits)
        with place.running() as worker:
            place.wait_for(lambda: len(_times(hits, "loop.answered")) >= PARTITIONS)
            if kill:
                os.kill(worker.pid, signal.SIGKILL)
        del place.environ[VARIABLE]
        return (max(_times(hits, "loop.answered")) - min(_times(hits, "loop.assigned"))) / 1e6


def _times(hits: Path, name: str) -> list[int]:
    """When a failpoint was passed, in nanoseconds."""
    raw = hits.read_bytes() if hits.exists() else b""
    lines = (raw[at : at + HIT_BYTES].split() for at in range(0, len(raw), HIT_BYTES))
    return [int(words[2]) for words in lines if words[0].decode() == name]
