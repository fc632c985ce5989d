"""Which processes are members of a group just now, and what they have been given."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException

from streamjobs.errors import StreamjobsError
from streamjobs.kafka.answers import REQUEST_TIMEOUT
from streamjobs.kafka.failures import kafka_error
from streamjobs.kafka.groups import describe_group
from streamjobs.kafka.rights import is_coordinated
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")


def client_id(settings: Settings, process: str) -> str:
    """What a process's member of a group is called, so that others can see whether it lives."""
    return f"{settings.kafka.get('client.id', 'streamjobs')}-{process}"


def given_to(
    settings: Settings, group: str, topic: str, process: str
) -> set[tuple[str, int]] | None:
    """Ask what a group's coordinator says that a process's member has been given.

    Args:
        settings: of the process.
        group: the group's id.
        topic: some topic of it.
        process: the part of its client id that is its own.

    Returns:
        Topics and partition numbers; None: that is not told.
    """
    try:
        if not is_coordinated(settings, group, topic):
            return None
        found = describe_group(settings, group, REQUEST_TIMEOUT)
    except (KafkaException, StreamjobsError, TimeoutError) as error:
        logger.debug("group %s: what it has given is not known: %s", group, error)
        return None
    return {
        (place.topic, place.partition)
        for member in found.members
        if process in member.client_id
        for place in member.assignment.topic_partitions
    }


def members_of(settings: Settings, group: str, timeout: float) -> frozenset[str] | None:
    """Ask for the client ids of a group's members, but for the static one of our own name.

    A static member that is restarted is told under its old client id (Kafka 4.3, classic groups):
    it would make its dead predecessor look alive.

    Returns:
        None when there is no answer within ``timeout`` seconds.
    """
    try:
        if not is_coordinated(settings, group, group):
            return None
        found = describe_group(settings, group, timeout)
    except (KafkaException, StreamjobsError, TimeoutError) as error:
        told = kafka_error(error).str() if isinstance(error, KafkaException) else "no answer"
        logger.info("group %s: its members are not known yet: %s", group, told)
        return None
    ours = settings.group_instance_id
    return frozenset(
        member.client_id
        for member in found.members
        if ours is None or member.group_instance_id != ours
    )
