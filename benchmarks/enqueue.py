"""Jobs enqueued per second: bare encode + produce, then ``enqueue_many``, into the same topic."""

from __future__ import annotations

from benchmarks.harness import bench, compare, schema

JOBS = 500_000


def run(jobs: int, runs: int) -> float:
    with bench() as place:
        # As long as a real one; nothing reads these records.
        prefix = "c301" + "00" * 8
        return compare(
            f"enqueueing {jobs:,} jobs from one process, until the log has the last",
            lambda: place.python(
                *("-m", "benchmarks.bare_produce", place.broker.bootstrap, place.topics.main),
                *(schema(), prefix, str(jobs)),
            ),
            lambda: place.python("-m", "benchmarks.enqueue_many", str(jobs)),
            runs,
        )
