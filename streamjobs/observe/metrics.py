"""Every metric, one sentence each; the documentation table is made from here.

Labels come from registered jobs and declared queues only, never from what records say.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

UNKNOWN_JOB = "unknown"


class WorkerMetrics:
    """What a worker counts; one object for all its queues, called once per turn, in batches.

    Args:
        registry: where they are registered; a new one for each worker, so that two in one
            process do not collide.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "streamjobs_attempts_finished",
            "Attempts that came to an outcome.",
            ["queue", "job_name", "outcome"],
            registry=registry,
        )
        self._received = Counter(
            "streamjobs_records_received",
            "Records received, from main topics and retry tiers.",
            ["queue"],
            registry=registry,
        )
        self._cycles = Counter(
            "streamjobs_commit_cycles",
            "Commit cycles by kind (plain, transaction) and result (committed, failed).",
            ["queue", "kind", "result"],
            registry=registry,
        )
        self._children = Counter(
            "streamjobs_child_jobs_enqueued",
            "Jobs that handlers enqueued with their own success.",
            ["queue"],
            registry=registry,
        )
        self._deleted = Counter(
            "streamjobs_jobs_deleted",
            "Offsets whose jobs the broker deleted before they were done: jobs, at most.",
            ["queue"],
            registry=registry,
        )
        self._in_hand = Gauge(
            "streamjobs_jobs_in_hand",
            "Jobs running, ready or waiting for one of their key.",
            ["queue"],
            registry=registry,
        )
        self._held = Gauge(
            "streamjobs_jobs_held",
            "Jobs of retry tiers in memory that are not due.",
            ["queue"],
            registry=registry,
        )
        self._partitions = Gauge(
            "streamjobs_partitions_owned",
            "Partitions owned, main topics and retry tiers together.",
            ["queue"],
            registry=registry,
        )

        self._breaker = Gauge(
            "streamjobs_breaker_open",
            "1 while the queue is paused because nearly every job failed, else 0.",
            ["queue"],
            registry=registry,
        )

    def deleted(self, queue: str, count: int) -> None:
        """Count offsets that the broker deleted before the group was past them."""
        self._deleted.labels(queue).inc(count)

    def attempts_finished(self, queue: str, counts: Mapping[tuple[str, str], int]) -> None:
        """Add outcomes, by (job name, outcome); an empty name is a record that did not decode."""
        for (job, outcome), count in counts.items():
            self._attempts.labels(queue, job or UNKNOWN_JOB, outcome).inc(count)

    def received(self, queue: str, count: int) -> None:
        """Add records received."""
        self._received.labels(queue).inc(count)

    def cycle(self, queue: str, kind: str, result: str) -> None:
        """Count one commit cycle."""
        self._cycles.labels(queue, kind, result).inc()

    def children(self, queue: str, count: int) -> None:
        """Add child jobs whose parents' success is committed."""
        self._children.labels(queue).inc(count)

    def state(
        self, queue: str, *, in_hand: int, held: int, partitions: int, breaker_open: bool
    ) -> None:
        """Set what holds now."""
        self._in_hand.labels(queue).set(in_hand)
        self._held.labels(queue).set(held)
        self._partitions.labels(queue).set(partitions)
        self._breaker.labels(queue).set(breaker_open)
