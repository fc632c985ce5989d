"""``python -m benchmarks [NAME|all] [OPTIONS]``: run one benchmark, or all of them.

Exit codes: 0 done, 1 a figure is above the most that its benchmark allows.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

NAMES = (
    "throughput", "enqueue", "hot_key", "busy_key", "rebuild", "due_retry", "idle_shard",
    "kept_shards",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare streamjobs with the bare client loop, in alternating runs.",
    )
    parser.add_argument("name", nargs="?", default="all", choices=["all", *NAMES])
    parser.add_argument("--jobs", type=int, help="jobs in each run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the median counts")
    parser.add_argument("--quick", action="store_true", help="a fifth of the jobs, three runs")
    options = parser.parse_args()
    missed = []
    for name in NAMES if options.name == "all" else (options.name,):
        module = import_module(f"benchmarks.{name}")
        jobs = options.jobs or (module.JOBS // 5 if options.quick else module.JOBS)
        figure = module.run(jobs, 3 if options.quick else options.runs)
        if figure > getattr(module, "MOST", figure):
            missed.append(name)
    if missed:
        sys.exit(f"above what is allowed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
