"""A group's offsets as they stand when no transaction that has some of them is open."""

from __future__ import annotations

import logging
from collections.abc import Collection

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from streamjobs.kafka.config import consumer_config, silent
from streamjobs.kafka.failures import kafka_error
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

Partition = tuple[str, int]
# Offsets, each with the text beside it.
Stable = dict[Partition, tuple[int, str]]


def stable_offsets(
    settings: Settings, group: str, partitions: Collection[Partition], timeout: float
) -> Stable | None:
    """Ask for a group's stable offsets, by a client of its own.

    A member that the group has removed is refused by KIP-848 groups until it is polled, and its
    client may have lost sight of the group's coordinator.

    Returns:
        Those that there are; None where it has no answer in so many seconds, as long as a
        transaction that has offsets of these is open.
    """
    asked = [TopicPartition(*pair) for pair in partitions]
    asks = Consumer(consumer_config(settings, group, logger=silent))
    try:
        found = asks.committed(asked, timeout=timeout)
    except KafkaException as error:
        logger.info("group %s: no stable offsets yet: %s", group, kafka_error(error).str())
        return None
    finally:
        asks.close()
    if any(at.error is not None for at in found):
        return None
    return {
        (at.topic, at.partition): (at.offset, at.metadata or "")
        for at in found
        if at.offset != OFFSET_INVALID
    }
