"""No-op jobs per second: the bare loop, then a worker in one process, on the same topic."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import bench, compare, schema

JOBS = 1_000_000
CONCURRENCY = 16  # the worker's default


def run(jobs: int, runs: int) -> float:
    with bench() as place:
        filled = place.python("-m", "benchmarks.enqueue_many", str(jobs))
        total = filled["jobs"] + 1  # the one that opened the connections
        turn = iter(range(1000))

        def bare() -> dict[str, Any]:
            group = f"{place.topics.prefix}.bare-{next(turn)}"
            return place.python(
                *("-m", "benchmarks.bare_consume", place.broker.bootstrap, place.topics.main),
                *(group, schema(), str(total)),
            )

        def worker() -> dict[str, Any]:
            report = place.python(*place.worker("--drain", "--concurrency", str(CONCURRENCY)))
            assert report["succeeded"] == total, report
            place.forget_group()
            return {"jobs": total, "seconds": report["seconds"]}

        title = f"no-op jobs, {total:,} in one process, from first record to last outcome"
        return compare(title, bare, worker, runs)
