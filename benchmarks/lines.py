"""The app of the benchmarks of order: keys whose head fails, and others that must not notice it.

Handlers append what they have to tell to the file that ``BENCH_NOTES`` names. As a program it
enqueues: ``fill OTHERS FOLLOWERS``, ``feed JOBS``, ``late OTHERS``, ``fresh``, ``long`` or
``stream JOBS``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

from benchmarks.jobs import arguments
from streamjobs import App, Context, Retry, RetryAfter

PARTITIONS, DELAYS = 8, ("1s", "5s", "1h")
# Jobs of as many keys: enough for one in each partition at least.
FRESH = 64
# Seconds that a long job runs.
LONG = 5.0
# Jobs of as many keys, that fail once.
LATE = 200
# Jobs a second of each key that is fed, and how often its head fails.
RATE, FED = 100, {"once": 1, "twice": 2}

app = App("bench")
app.queue("line", partitions=PARTITIONS, retry=Retry(delays=DELAYS))
_notes = os.open(os.environ.get("BENCH_NOTES", os.devnull), os.O_WRONLY | os.O_APPEND)
_others, _expected = count(1), int(os.environ.get("BENCH_OTHERS", "0"))
_every = int(os.environ.get("BENCH_EVERY", "0")) or _expected


def note(*words: Any) -> None:
    """Append a line, with the time in seconds since the epoch at its end."""
    os.write(_notes, (" ".join(map(str, (*words, time.time()))) + "\n").encode())


@app.job(queue="line", key="customer")
def line(ctx: Context, number: int, customer: str, fails: int) -> None:
    """Note that it runs; the head of a line fails so many times first."""
    if ctx.attempt <= fails:
        raise RetryAfter(DELAYS[ctx.attempt - 1])
    note(customer, number)


@app.job(queue="line", key="customer")
def other(number: int, customer: str, price: float) -> None:  # noqa: ARG001 - only decoded
    """Do nothing with three typed arguments; the first, the last and each nth is noted."""
    done = next(_others)
    if done in (1, _expected) or (_every and done % _every == 0):
        note("other", done)


@app.job(queue="line", key="customer")
def late(ctx: Context, customer: str) -> None:
    """Fail once; note that it runs again."""
    if ctx.attempt == 1:
        raise RetryAfter(DELAYS[0])
    note("late", customer)


@app.job(queue="line", key="customer")
def fresh(customer: str) -> None:
    """Note that it runs, and where."""
    note("fresh", customer, os.getpid())


@app.job(queue="line", key="customer")
def long(customer: str) -> None:
    """Note that it runs, and do so for a while."""
    note("long", customer)
    threading.Event().wait(LONG)


def fill(others: int, followers: int) -> None:
    """Enqueue a hot key's line, whose head fails twice, and the others behind it."""

    def calls() -> Iterator[Any]:
        for number in range(followers and followers + 1):
            yield line.call(number, "hot", 0 if number else 2)
        for args in arguments(others):
            yield other.call(**args)

    with app:
        summary = app.enqueue_many(calls())
    assert summary.sent == others + (followers and followers + 1), summary


def feed(jobs: int) -> None:
    """Enqueue so many jobs of each fed key, at its rate."""
    pace, began = threading.Event(), time.monotonic()
    with app:
        for number in range(jobs):
            pace.wait(max(0.0, began + number / RATE - time.monotonic()))
            for customer, fails in FED.items():
                line.enqueue(number, customer, 0 if number else fails)


def enqueue_late(others: int) -> None:
    """Enqueue jobs that fail once, and the others behind them."""

    def calls() -> Iterator[Any]:
        for number in range(LATE):
            yield late.call(f"late-{number}")
        for args in arguments(others):
            yield other.call(**args)

    with app:
        summary = app.enqueue_many(calls())
    assert summary.sent == LATE + others, summary


def enqueue_fresh() -> None:
    """Enqueue a job in every partition."""
    with app:
        refs = [fresh.enqueue(f"fresh-{number}") for number in range(FRESH)]
    assert len({ref.partition for ref in refs}) == PARTITIONS


def enqueue_long() -> int:
    """Enqueue long jobs until there is one in every partition, and return how many they are."""
    there: set[int] = set()
    with app:
        for number in count(1):
            there.add(long.enqueue(f"long-{number}").partition)
            if len(there) == PARTITIONS:
                return number
    raise AssertionError  # it counts for ever


def stream(jobs: int) -> None:
    """Enqueue so many short jobs, of as many keys as ``fresh`` has, at the rate of fed keys."""
    pace, began = threading.Event(), time.monotonic()
    with app:
        for number in range(jobs):
            pace.wait(max(0.0, began + number / RATE - time.monotonic()))
            fresh.enqueue(f"fresh-{number % FRESH}")


if __name__ == "__main__":
    enqueued = 0
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "late":
        enqueue_late(int(sys.argv[2]))
    elif sys.argv[1] == "fresh":
        enqueue_fresh()
    elif sys.argv[1] == "long":
        enqueued = enqueue_long()
    elif sys.argv[1] == "stream":
        stream(int(sys.argv[2]))
    else:
        feed(int(sys.argv[2]))
    print(json.dumps({"enqueued": enqueued}))
