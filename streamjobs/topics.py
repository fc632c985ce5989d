"""The topics of an app: their names, and how each has to be made. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamjobs.clock import format_duration, parse_duration
from streamjobs.errors import DefinitionError

DAY_MS = 86_400_000
MAIN_RETENTION_MS = 7 * DAY_MS
DLQ_RETENTION_MS = 30 * DAY_MS
TIER_SLACK_MS = 7 * DAY_MS
# The broker's own default for max.message.bytes (Kafka 4.3: 1 MiB + 12 for a batch's head).
MAIN_MAX_BYTES = 1_048_588
# The longest name of a topic that Kafka takes (org.apache.kafka.common.internals.Topic).
MAX_TOPIC_NAME = 249
MAX_BYTES = "max.message.bytes"
# Room for the headers of a move, so that a job that fitted into main always fits on its way on.
HEADER_ROOM = 65_536

_NAME = re.compile(r"[a-z][a-z0-9-]*")
RESERVED_QUEUES = frozenset(
    "schemas schedules control results workflows reports checkpoints delay scheduler".split()  # noqa: SIM905
)
# What comes where a priority stands in a main topic's name.
RESERVED_PRIORITIES = frozenset({"retry", "dlq", "marks"})
DEFAULT_PRIORITY = "normal"


def check_name(kind: str, name: str, reserved: Iterable[str] = ()) -> str:
    """Return ``name`` when it may name an app, a queue or a priority; these have no dots.

    Raises:
        DefinitionError: when it does not match ``[a-z][a-z0-9-]*`` or is reserved.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{kind} name {name!r}: use lower-case letters, digits and '-', beginning with a letter"
        )
    if name in reserved:
        raise DefinitionError(
            f"{kind} name {name!r} is reserved for streamjobs' own topics: choose another"
        )
    return name


def default_priority(priorities: Sequence[str]) -> str | None:
    """Return the priority of a call that names none; None: the queue has no priorities.

    It is ``normal`` where there is one, else the middle one; of an even number the less urgent one
    of the two in the middle.
    """
    if not priorities:
        return None
    return DEFAULT_PRIORITY if DEFAULT_PRIORITY in priorities else priorities[len(priorities) // 2]


def no_such_priority(queue: str, priority: object, priorities: Sequence[str]) -> str:
    """Say that a queue has no such priority, and which it has."""
    if not priorities:
        return f"priority={priority!r}: queue {queue!r} has no priorities"
    return f"priority={priority!r}: queue {queue!r} has {', '.join(priorities)}"


def main_topic(prefix: str, queue: str, priority: str | None) -> str:
    """Return the main topic of a queue's priority; None: the queue has none."""
    return f"{prefix}.{queue}" if priority is None else f"{prefix}.{queue}.{priority}"


@dataclass(frozen=True)
class QueueTopics:
    """The names of one queue's topics and group.

    Attributes:
        prefix: the namespace, else the app.
        queue: its name.
        priorities: most urgent first; empty: the queue has one main topic and no priorities.
    """

    prefix: str
    queue: str
    priorities: tuple[str, ...] = ()

    @property
    def mains(self) -> tuple[str, ...]:
        """Where jobs are enqueued, the most urgent priority first."""
        return tuple(main_topic(self.prefix, self.queue, p) for p in self.priorities or (None,))

    @property
    def main(self) -> str:
        """Where a job is enqueued whose call names no priority."""
        return self.main_of(None)

    def main_of(self, priority: str | None) -> str:
        """The main topic of a priority; None: of the default one.

        Raises:
            DefinitionError: the queue has no such priority.
        """
        if priority is not None and priority not in self.priorities:
            raise DefinitionError(no_such_priority(self.queue, priority, self.priorities))
        chosen = default_priority(self.priorities) if priority is None else priority
        return main_topic(self.prefix, self.queue, chosen)

    def old_mains_among(self, topics: Iterable[str]) -> list[str]:
        """The main topics of this queue among ``topics`` that ``priorities`` names no more.

        A topic of another queue is none of them: names of queues and priorities have no dots.
        """
        head = f"{self.prefix}.{self.queue}"
        return sorted({t for t in topics if _may_be_main(head, t)}.difference(self.mains))

    @property
    def group(self) -> str:
        """The consumer group of the queue's workers."""
        return f"{self.prefix}.{self.queue}"

    @property
    def dlq(self) -> str:
        """Where dead letters are kept."""
        return f"{self.prefix}.{self.queue}.dlq"

    @property
    def marks(self) -> str:
        """Where it is noted which dead letters were taken."""
        return f"{self.prefix}.{self.queue}.marks"

    @property
    def requeue_id(self) -> str:
        """The transactional id of whoever takes dead letters: a second one fences the first."""
        return f"{self.prefix}.{self.queue}.requeue"

    def tier(self, delay: float) -> str:
        """The retry tier that waits ``delay`` seconds."""
        return f"{self.prefix}.{self.queue}.retry.{format_duration(delay)}"

    def tier_delay(self, topic: str) -> float | None:
        """The delay of a topic in seconds when it is a retry tier of this queue, else None."""
        head = f"{self.prefix}.{self.queue}.retry."
        if not topic.startswith(head):
            return None
        try:
            delay = parse_duration(topic.removeprefix(head))
        except DefinitionError:
            return None
        return delay if self.tier(delay) == topic else None

    def tiers_among(self, topics: Iterable[str]) -> dict[str, float]:
        """The retry tiers of this queue among ``topics``, shortest delay first: name to seconds.

        The ladder is what topics exist, not what today's code says.
        """
        found = {t: d for t in topics if (d := self.tier_delay(t)) is not None}
        return dict(sorted(found.items(), key=lambda item: item[1]))


def _may_be_main(head: str, topic: str) -> bool:
    """Whether a topic is the queue's ``head`` itself, or that of a priority of it."""
    name = topic.removeprefix(f"{head}.")
    if name == topic:
        return topic == head
    return name not in RESERVED_PRIORITIES and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class TopicSpec:
    """How one topic has to be.

    Attributes:
        name: of the topic.
        partitions: how many.
        config: settings as Kafka spells them.
        queue: whose topic it is; None: the app's. A name alone does not tell: ``shop.mail.high``.
    """

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    queue: QueueTopics | None = None


def schemas_topic(prefix: str) -> str:
    """The compacted topic of the app's writer schemas."""
    return f"{prefix}.schemas"


# By the broker's stamps it is decided what is old and, in a tier, what is due: the clock of whoever
# writes must not matter. A job stamped years ago would be deleted at once.
_KEPT = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}


def queue_specs(
    topics: QueueTopics,
    *,
    partitions: int,
    delays: Iterable[float],
    retention_ms: int = MAIN_RETENTION_MS,
) -> list[TopicSpec]:
    """Say how every topic of a queue has to be, main topics first, DLQ and marks last."""
    # A limit by size would delete jobs that nobody has run, or that wait for their retry, however
    # long they are to be kept.
    kept = {**_KEPT, "retention.ms": str(retention_ms), "retention.bytes": "-1"}
    mains = [TopicSpec(main, partitions, dict(kept), topics) for main in topics.mains]
    tiers = [tier_spec(topics, delay, partitions) for delay in delays]
    dlq = TopicSpec(topics.dlq, partitions, _onward(DLQ_RETENTION_MS), topics)
    marks = TopicSpec(topics.marks, partitions, {"cleanup.policy": "compact"}, topics)
    return [*mains, *tiers, dlq, marks]


def tier_spec(topics: QueueTopics, delay: float, partitions: int) -> TopicSpec:
    """Say how the retry tier of a delay, in seconds, has to be."""
    config = _onward(round(delay * 1000) + TIER_SLACK_MS)
    config["retention.bytes"] = "-1"
    return TopicSpec(topics.tier(delay), partitions, config, topics)


def _onward(retention_ms: int) -> dict[str, str]:
    """The settings of a topic that jobs are moved to; it must take more where main takes more."""
    return {
        **_KEPT,
        MAX_BYTES: str(MAIN_MAX_BYTES + HEADER_ROOM),
        "retention.ms": str(retention_ms),
    }


def schemas_spec(prefix: str) -> TopicSpec:
    """Say how the schema log has to be."""
    return TopicSpec(schemas_topic(prefix), 1, {"cleanup.policy": "compact"})
