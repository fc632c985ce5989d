"""Which group protocol a broker speaks: found out by joining a throw-away group."""

from __future__ import annotations

import logging
import secrets

from confluent_kafka import Consumer, KafkaException

from streamjobs.clock import monotonic
from streamjobs.kafka.config import consumer_config, silent
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

# A broker that has the protocol assigns within a second; one without the call stays silent.
PROBE_TIMEOUT = 5.0


def resolve_protocol(settings: Settings, topic: str) -> str:
    """Return ``consumer`` (KIP-848) or ``classic``; probes when the settings say ``auto``.

    A broker with KIP-848 switched off raises at once; one that does not know it stays silent.

    Args:
        settings: of the process.
        topic: one that exists.
    """
    if settings.group_protocol != "auto":
        return settings.group_protocol
    protocol = "consumer" if _assigned(settings, topic) else "classic"
    logger.info("group protocol: %s, as the broker answered", protocol)
    return protocol


def _assigned(settings: Settings, topic: str) -> bool:
    group = f"{topic}.probe.{secrets.token_hex(4)}"
    config = consumer_config(settings, group, group_protocol="consumer", logger=silent)
    consumer = Consumer(config)
    assigned: list[bool] = []
    try:
        consumer.subscribe([topic], on_assign=lambda *_: assigned.append(True))
        deadline = monotonic() + PROBE_TIMEOUT
        while not assigned and (left := deadline - monotonic()) > 0:
            consumer.poll(min(left, 0.1))
    except KafkaException:
        return False
    finally:
        consumer.close()
    return bool(assigned)
