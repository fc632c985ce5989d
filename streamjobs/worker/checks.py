"""What a worker refuses to start with: topics and brokers that would lose jobs or their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from streamjobs.clock import format_duration
from streamjobs.engine.ladder import Ladder, Ordering
from streamjobs.engine.metadata import TEXT_MAX
from streamjobs.errors import AuthenticationError, TopicsError
from streamjobs.kafka.admin import Admin, TopicInfo
from streamjobs.kafka.rights import needs_of
from streamjobs.registry import Queue
from streamjobs.topics import TopicSpec, schemas_spec, schemas_topic
from streamjobs.wording import counted
from streamjobs.worker.source import Source

logger = logging.getLogger("streamjobs.worker")


def check(
    admin: Admin, queue: Queue, source: Source, *, skip: bool, starts: bool = False
) -> Ladder:
    """Refuse topics that would lose jobs or order; read the ladder off the broker.

    Args:
        admin: asks the broker.
        queue: whose topics.
        source: the app's parts.
        skip: whether partitions that were added to a main topic are left alone, not refused.
        starts: whether a worker starts: what it should know is logged then, and not each time.

    Raises:
        AuthenticationError: all rights that are missing, with the commands that grant them.
        TopicsError: all that is wrong, with the command that mends it.
    """
    topics, specs = queue.topics(source.prefix), queue.specs(source.prefix)
    if source.settings.schema_registry_url is None:
        specs = [schemas_spec(source.prefix), *specs]
    there = admin.topics(None)
    if admin.embedded:
        problems = _embedded(specs, there, source.settings.delivery)
        problems += [main.problem for main in admin.old_mains(specs, there) if main.waiting]
    else:
        _require_rights(admin, queue, source, there)
        limits = admin.group_limits()
        problems = [*_short_texts(limits.text_bytes), *_planned(admin, specs, skip=skip)]
        if starts:
            _tell_what_is_forgotten(topics.group, queue, limits.offsets_minutes)
    if problems:
        raise TopicsError(*problems)
    reads = topics.tiers_among(there)
    writes = tuple(delay for delay in queue.retry.delays if delay in reads.values())
    return Ladder(
        topics,
        topics.mains,
        reads,
        writes,
        {topic: there[topic].topic_id for topic in (*topics.mains, *reads)},
        queue.retry.immediate,
        Ordering(queue.ordering),
        queue.partitions,
    )


def _require_rights(
    admin: Admin, queue: Queue, source: Source, there: Mapping[str, TopicInfo]
) -> None:
    """Refuse to begin what would stand still: what we may not do is told before what is wrong.

    A topic that we may not see looks like one that is not there.
    """
    topics = queue.topics(source.prefix)
    schemas = schemas_topic(source.prefix)
    declared = queue.retry.delays
    needs = needs_of(
        topics,
        reads={*map(topics.tier, declared), *topics.tiers_among(there)},
        writes=declared,
        schemas=None if source.settings.schema_registry_url else schemas,
        at_start=True,
    )
    if missing := admin.denied(needs, topics.group):
        raise AuthenticationError("\n".join(missing))


def _planned(admin: Admin, specs: Sequence[TopicSpec], *, skip: bool) -> list[str]:
    """What the plan says; what is no reason to refuse goes to the log."""
    plan = admin.plan(specs)
    if skip:
        for problem in plan.added:
            logger.error("%s", problem)
    for main in plan.old_mains:
        if not main.waiting:
            logger.warning("%s", main)
    return [p for p in plan.problems if not (skip and p in plan.added)]


def _short_texts(room: int | None) -> list[str]:
    """Refuse brokers that keep less beside an offset than a commit may have to say."""
    if room is None or room >= TEXT_MAX:
        return []
    problem = (
        f"a broker has offset.metadata.max.bytes={room}, and a commit of a worker may need "
        f"{TEXT_MAX} beside an offset: it would be refused again and again; set "
        f"offset.metadata.max.bytes={TEXT_MAX}, Kafka's default, or more, on every broker"
    )
    return [problem]


def _tell_what_is_forgotten(group: str, queue: Queue, minutes: int | None) -> None:
    """Warn where brokers may forget how far a queue is while they still have all of its jobs.

    To a worker that comes then it is a new queue, and all of it runs again. A log that has lost its
    beginning by then is refused (``taking``).
    """
    if minutes is not None and minutes * 60_000 < queue.retention_ms:
        logger.warning(
            "queue %s keeps jobs for %s, and brokers forget the offsets of a group that nobody is "
            "in after %s: without any worker of group %s for so long, finished jobs run again. Set "
            "offsets.retention.minutes of the brokers above the queue's retention",
            queue.name,
            format_duration(queue.retention_ms / 1000),
            format_duration(minutes * 60),
            group,
        )


def _embedded(
    specs: Sequence[TopicSpec], there: Mapping[str, TopicInfo], delivery: str
) -> list[str]:
    """What can be checked where topics have no settings, and transactions do nothing."""
    problems = []
    if delivery == "transactional":
        problems.append(
            "the embedded broker says yes to transactions and does nothing: "
            "set STREAMJOBS_DELIVERY=idempotent, or use an Apache Kafka"
        )
    for spec in specs:
        have = there[spec.name].partitions if spec.name in there else 0
        if have != spec.partitions:
            problems.append(
                f"topic {spec.name} has {counted(have, 'partition')} and needs "
                f"{spec.partitions}: start the embedded broker with -A, so that it creates "
                "the app's topics"
            )
    return problems
