"""The queues and jobs of one app. Pure: no client, no thread, no global app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, get_args

from streamjobs.breaker import DEFAULT_BREAKER, Breaker
from streamjobs.clock import format_duration, parse_duration
from streamjobs.errors import DefinitionError
from streamjobs.job import JobDefinition, check_job_name
from streamjobs.retry import Retry
from streamjobs.topics import (
    MAIN_RETENTION_MS,
    MAX_TOPIC_NAME,
    RESERVED_PRIORITIES,
    RESERVED_QUEUES,
    QueueTopics,
    TopicSpec,
    check_name,
    queue_specs,
    schemas_spec,
)

DEFAULT_QUEUE = "default"
DEFAULT_PARTITIONS = 8
MAX_PARTITIONS = 10_000
Ordering = Literal["key", "none", "partition"]


@dataclass(frozen=True)
class Queue:
    """A named stream of jobs, as declared in code.

    Attributes:
        name: unique in the app.
        partitions: of every topic of the queue; cannot change while the queue is in use.
        retry: the ladder for its jobs.
        retention_ms: how long a main topic keeps jobs, and so how far back history reaches.
        priorities: most urgent first, each with a main topic of its own; empty: there are none.
        ordering: ``key``: jobs of one key and priority run in the order of enqueueing, retries
            included; ``none``: in any; ``partition``: all of one partition and priority in a line.
        breaker: when a worker pauses it since nearly everything fails; None: never.
    """

    name: str
    partitions: int = DEFAULT_PARTITIONS
    retry: Retry = field(default_factory=Retry)
    retention_ms: int = MAIN_RETENTION_MS
    priorities: tuple[str, ...] = ()
    ordering: Ordering = "key"
    breaker: Breaker | None = DEFAULT_BREAKER

    def topics(self, prefix: str) -> QueueTopics:
        """Return the names of its topics; ``prefix``: the namespace, else the app."""
        return QueueTopics(prefix, self.name, self.priorities)

    def specs(self, prefix: str) -> list[TopicSpec]:
        """Say how each of its topics has to be, main topics first, DLQ and marks last."""
        return queue_specs(
            self.topics(prefix),
            partitions=self.partitions,
            delays=self.retry.delays,
            retention_ms=self.retention_ms,
        )


class Registry:
    """What an app has declared; duplicates and unknown names are refused here."""

    def __init__(self, app: str) -> None:
        self.app = check_name("app", app)
        self.queues: dict[str, Queue] = {}
        self.jobs: dict[str, JobDefinition] = {}

    def add_queue(
        self,
        name: str,
        *,
        partitions: int = DEFAULT_PARTITIONS,
        retry: Retry | None = None,
        retention: str | float = "7d",
        priorities: Sequence[str] = (),
        ordering: Ordering = "key",
        breaker: Breaker | None = DEFAULT_BREAKER,
    ) -> Queue:
        """Declare a queue.

        Raises:
            DefinitionError: a name or priority that is bad, reserved or there twice, an impossible
                partition count, an unknown ordering, a breaker that is none, or a retry that
                waits longer than the job itself is kept.
        """
        check_name("queue", name, RESERVED_QUEUES)
        if name in self.queues:
            raise DefinitionError(f"queue {name!r} is declared twice in app {self.app!r}")
        _check_partitions(name, partitions)
        if ordering not in get_args(Ordering):
            known = ", ".join(map(repr, get_args(Ordering)))
            raise DefinitionError(f"queue {name!r}: ordering={ordering!r}, must be one of {known}")
        if breaker is not None and not isinstance(breaker, Breaker):
            raise DefinitionError(
                f"queue {name!r}: breaker={breaker!r}, must be Breaker(…), or None for none"
            )
        if retry is not None and not isinstance(retry, Retry):
            raise DefinitionError(
                f"queue {name!r}: retry={retry!r}, must be Retry(…), or None for Retry()"
            )
        retry, kept = retry or Retry(), parse_duration(retention)
        if retry.delays and retry.delays[-1] > kept:
            raise DefinitionError(
                f"queue {name!r}: a retry waits {format_duration(retry.delays[-1])}, and jobs are "
                f"kept for {format_duration(kept)}: lengthen retention or shorten the ladder"
            )
        queue = Queue(
            name,
            partitions,
            retry,
            round(kept * 1000),
            _check_priorities(name, priorities),
            ordering,
            breaker,
        )
        _check_topic_names(queue, self.app)
        self.queues[name] = queue
        return queue

    def add_job(self, definition: JobDefinition) -> None:
        """Register a job; bare jobs make the queue ``default`` come into being.

        Raises:
            DefinitionError: a bad or duplicate name, or a queue that was not declared.
        """
        check_job_name(definition.name)
        if definition.name in self.jobs:
            raise DefinitionError(
                f"job {definition.name!r} is defined twice in {self.app!r}: give one of them name="
            )
        if definition.queue == DEFAULT_QUEUE and DEFAULT_QUEUE not in self.queues:
            self.add_queue(DEFAULT_QUEUE)
        if definition.queue not in self.queues:
            raise DefinitionError(
                f"job {definition.name!r}: queue {definition.queue!r} is not declared"
                f"{_hint(definition.queue, self.queues)}; "
                f"app.queue({definition.queue!r}) declares it"
            )
        self.jobs[definition.name] = definition

    def find_queue(self, name: str) -> Queue:
        """Return a declared queue.

        Raises:
            DefinitionError: naming the ones there are.
        """
        if name not in self.queues:
            there = ", ".join(sorted(self.queues)) or "none"
            raise DefinitionError(
                f"app {self.app!r} has no queue {name!r}{_hint(name, self.queues)}; it has: {there}"
            )
        return self.queues[name]

    def find_job(self, name: str) -> JobDefinition:
        """Return a registered job.

        Raises:
            DefinitionError: naming the ones there are.
        """
        if name not in self.jobs:
            there = ", ".join(sorted(self.jobs)) or "none"
            raise DefinitionError(
                f"app {self.app!r} has no job {name!r}{_hint(name, self.jobs)}; it has: {there}"
            )
        return self.jobs[name]

    def topic_specs(self, prefix: str) -> list[TopicSpec]:
        """Say how every topic of the app has to be, the schema log first."""
        specs = [schemas_spec(prefix)]
        for queue in self.queues.values():
            specs += queue.specs(prefix)
        return specs


def _check_partitions(queue: str, partitions: int) -> None:
    if (
        isinstance(partitions, bool)
        or not isinstance(partitions, int)
        or not 1 <= partitions <= MAX_PARTITIONS
    ):
        raise DefinitionError(
            f"queue {queue!r}: partitions={partitions!r}, must be 1 to {MAX_PARTITIONS:,}"
        )


def _check_topic_names(queue: Queue, app: str) -> None:
    longest = max((spec.name for spec in queue.specs(app)), key=len)
    if len(longest) > MAX_TOPIC_NAME:
        raise DefinitionError(
            f"queue {queue.name!r}: its topic {longest} has {len(longest)} characters, and Kafka "
            f"takes {MAX_TOPIC_NAME}: shorten the name of the app, the queue or its priority"
        )


def _check_priorities(queue: str, priorities: Sequence[str]) -> tuple[str, ...]:
    if isinstance(priorities, str) or not isinstance(priorities, Sequence):
        raise DefinitionError(
            f"queue {queue!r}: priorities={priorities!r}, must be a tuple of names, the most "
            'urgent first: ("high", "normal", "low")'
        )
    for name in priorities:
        check_name(f"queue {queue!r}: priority", name, RESERVED_PRIORITIES)
    if len(set(priorities)) < len(priorities):
        twice = next(name for name in priorities if priorities.count(name) > 1)
        raise DefinitionError(f"queue {queue!r}: priority {twice!r} is there twice")
    return tuple(priorities)


def _hint(name: str, known: dict[str, Queue] | dict[str, JobDefinition]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
