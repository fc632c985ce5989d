"""Which processes are members of a group just now."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streamjobs.kafka.config import admin_config
from streamjobs.kafka.failures import kafka_error
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")


def client_id(settings: Settings, process: str) -> str:
    """What a process's member of a group is called, so that others can see whether it lives."""
    return f"{settings.kafka.get('client.id', 'streamjobs')}-{process}"


def members_of(settings: Settings, group: str, timeout: float) -> frozenset[str] | None:
    """Ask for the client ids of a group's members, but for the static one of our own name.

    A static member that is restarted is told under its old client id (Kafka 4.3, classic groups):
    it would make its dead predecessor look alive.

    Returns:
        None when there is no answer within ``timeout`` seconds.
    """
    admin = AdminClient(admin_config(settings))
    try:
        asked = admin.describe_consumer_groups([group], request_timeout=timeout)
        found = asked[group].result(2 * timeout)
    except (KafkaException, TimeoutError) as error:
        told = kafka_error(error).str() if isinstance(error, KafkaException) else "no answer"
        logger.info("group %s: its members are not known yet: %s", group, told)
        return None
    ours = settings.group_instance_id
    return frozenset(
        member.client_id
        for member in found.members
        if ours is None or member.group_instance_id != ours
    )
