"""The topics of an app: their names, and how each has to be made. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamjobs.clock import format_duration, parse_duration
from streamjobs.errors import DefinitionError

DAY_MS = 86_400_000
MAIN_RETENTION_MS = 7 * DAY_MS
DLQ_RETENTION_MS = 30 * DAY_MS
TIER_SLACK_MS = 7 * DAY_MS
# The broker's own default for max.message.bytes (Kafka 4.3: 1 MiB + 12 for a batch's head).
MAIN_MAX_BYTES = 1_048_588
# Room for the headers of a move, so that a job that fitted into main always fits on its way on.
HEADER_ROOM = 65_536

_NAME = re.compile(r"[a-z][a-z0-9-]*")
RESERVED_QUEUES = frozenset(
    "schemas schedules control results workflows reports checkpoints delay scheduler".split()  # noqa: SIM905
)


def check_name(kind: str, name: str, reserved: Iterable[str] = ()) -> str:
    """Return ``name`` when it may name an app, a queue or a priority.

    Raises:
        DefinitionError: when it does not match ``[a-z][a-z0-9-]*`` or is reserved.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{kind} name {name!r}: use lower-case letters, digits and '-', beginning with a letter"
        )
    if name in reserved:
        raise DefinitionError(
            f"{kind} name {name!r} is reserved for the app's own topics: choose another"
        )
    return name


@dataclass(frozen=True)
class TopicSpec:
    """How one topic has to be: its name, its partition count, its settings as Kafka spells them."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueTopics:
    """The names of one queue's topics and group; ``prefix``: the namespace, else the app."""

    prefix: str
    queue: str

    @property
    def main(self) -> str:
        """Where jobs are enqueued."""
        return f"{self.prefix}.{self.queue}"

    @property
    def group(self) -> str:
        """The consumer group of the queue's workers."""
        return f"{self.prefix}.{self.queue}"

    @property
    def dlq(self) -> str:
        """Where dead letters are kept."""
        return f"{self.prefix}.{self.queue}.dlq"

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


def schemas_topic(prefix: str) -> str:
    """The compacted topic of the app's writer schemas."""
    return f"{prefix}.schemas"


def queue_specs(
    topics: QueueTopics,
    *,
    partitions: int,
    delays: Iterable[float],
    retention_ms: int = MAIN_RETENTION_MS,
) -> list[TopicSpec]:
    """Say how every topic of a queue has to be, main first, DLQ last."""
    delete = {"cleanup.policy": "delete"}
    roomy = {"max.message.bytes": str(MAIN_MAX_BYTES + HEADER_ROOM)}
    main = TopicSpec(topics.main, partitions, {**delete, "retention.ms": str(retention_ms)})
    tiers = [
        TopicSpec(
            topics.tier(delay),
            partitions,
            {
                **delete,
                **roomy,
                # Due = the broker's stamp + the tier's delay: producers' clocks must not matter.
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": str(round(delay * 1000) + TIER_SLACK_MS),
            },
        )
        for delay in delays
    ]
    dlq = TopicSpec(
        topics.dlq, partitions, {**delete, **roomy, "retention.ms": str(DLQ_RETENTION_MS)}
    )
    return [main, *tiers, dlq]


def schemas_spec(prefix: str) -> TopicSpec:
    """Say how the schema log has to be."""
    return TopicSpec(schemas_topic(prefix), 1, {"cleanup.policy": "compact"})
