"""Play many histories: ``make simulate SEEDS=100000 SEED_START=0``.

Prints the totals and a verdict; a failing seed prints its history and the line that replays it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context

from unit.simulator.parts import Parts, load
from unit.simulator.setups import STEPS, draw
from unit.simulator.world import World

# What has to have happened somewhere among all histories, or they show nothing.
NEEDED = (
    "histories", "jobs", "starts", "moves", "waiting moves", "holds", "parked keys", "dead",
    "children", "crashes", "fences", "rebalances", "zombies", "zombie starts", "cuts", "lost",
    "clock jumps", "reruns", "late ends", "stops", "evictions", "rebuilds",
    "aborted cycles", "breaker trips", "kills", "crashed",
)  # fmt: skip
# The steps at which somebody dies or stands still, for which it takes some more histories.
MANY = 1_000
STEPWISE = tuple(f"{what} {step}" for what in ("kill at", "stop at") for step in STEPS)
# Seeds a process plays before it reports, failing seeds after which no more are played, failing
# histories that are printed, and lines of each.
CHUNK, ENOUGH, PRINTED, LINES = 100, 20, 3, 150


@dataclass(frozen=True)
class Failure:
    """A seed whose history broke a guarantee, or the engine."""

    seed: int
    error: str


def play_seed(seed: int, parts: Parts) -> Counter[str] | Failure:
    """Play one history; whatever the engine raises is a failure too."""
    try:
        return World(draw(seed), parts).play().totals
    except Exception as error:
        return Failure(seed, f"{type(error).__name__}: {error}")
    finally:
        parts.shrink(small=False)  # they may be the modules that other tests of this process use


def play_seeds(seeds: range, parts: Parts) -> tuple[Counter[str], list[Failure]]:
    """Play these one after the other."""
    totals: Counter[str] = Counter()
    failures: list[Failure] = []
    # Each history is one heap of cycles that dies as a whole: collecting in between is wasted.
    # What was there before them is not searched each time.
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        for count, seed in enumerate(seeds, start=1):
            played = play_seed(seed, parts)
            if isinstance(played, Failure):
                failures.append(played)
            else:
                totals.update(played)
            if count % 25 == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    return totals, failures


def history(seed: int, parts: Parts, lines: int = LINES) -> str:
    """Play a seed again and tell what happened, its last lines."""
    world = World(draw(seed), parts, trace=True)
    try:
        world.play()
        verdict = "no guarantee is broken"
    except Exception as error:
        verdict = f"{type(error).__name__}: {error}"
    told = world.trace or []
    cut = [f"… {len(told) - lines} lines before"] if len(told) > lines else []
    replay = f"SEED={seed}: make simulate SEEDS=1 SEED_START={seed}"
    return "\n".join([str(world.setup), *cut, *told[-lines:], verdict, replay])


def missing(totals: Counter[str]) -> list[str]:
    """What never happened."""
    needed = NEEDED + STEPWISE if totals["histories"] >= MANY else NEEDED
    return [name for name in needed if not totals[name]]


def _chunk(seeds: range) -> tuple[Counter[str], list[Failure]]:
    return play_seeds(seeds, load())


def _chunks(first: int, count: int) -> Iterator[range]:
    for begin in range(first, first + count, CHUNK):
        yield range(begin, min(begin + CHUNK, first + count))


def main(arguments: list[str] | None = None) -> int:
    """Play, print, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    totals: Counter[str] = Counter()
    failures: list[Failure] = []
    with get_context("fork").Pool(options.processes) as pool:
        for some, failed in pool.imap_unordered(_chunk, _chunks(options.start, options.seeds)):
            totals.update(some)
            failures += failed
            if len(failures) >= ENOUGH:
                break
    failures.sort(key=lambda failure: failure.seed)
    for failure in failures[:PRINTED]:
        _say(f"\n{history(failure.seed, load())}")
    return _verdict(totals, failures, options.seeds, time.monotonic() - begun)


def _verdict(totals: Counter[str], failures: list[Failure], seeds: int, seconds: float) -> int:
    _say("")
    for name in sorted({*totals, *NEEDED}):
        _say(f"{name:18s} {totals[name]:>12,}")
    _say(f"{totals['histories'] / max(seconds, 0.001):.0f} histories a second, {seconds:.0f} s")
    for failure in failures:
        _say(f"SEED={failure.seed} {failure.error}")
    idle = missing(totals) if seeds >= CHUNK else []
    if idle:
        _say(f"nothing is shown about: {', '.join(idle)}")
    good = not failures and not idle
    _say("verdict: " + ("no guarantee is broken" if good else "FAILED"))
    return 0 if good else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
