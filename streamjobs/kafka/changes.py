"""What an admin client changes: topics made, partitions added, settings altered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from streamjobs.errors import BrokerUnavailable, TopicsError
from streamjobs.kafka.answers import REQUEST_TIMEOUT
from streamjobs.kafka.failures import kafka_error, translate
from streamjobs.kafka.plan import Alter, Create, Grow
from streamjobs.settings import Settings

# How long new topics may take to have leaders on every partition.
VISIBLE_TIMEOUT = 30.0


class Changes:
    """Changes by one admin client; each raises what ``carry_out`` raises.

    Args:
        client: the admin client.
        settings: for messages.
    """

    def __init__(self, client: AdminClient, settings: Settings) -> None:
        self._client, self._settings = client, settings

    def create(self, steps: Sequence[Create]) -> None:
        """Make topics; one that is there already is no error."""
        if not steps:
            return
        futures = self._client.create_topics(
            [
                # -1: the broker's default, so that one code base fits one broker and three.
                NewTopic(s.topic, s.partitions, replication_factor=-1, config=dict(s.config))
                for s in steps
            ],
            request_timeout=VISIBLE_TIMEOUT,
            operation_timeout=VISIBLE_TIMEOUT,
        )
        self.carry_out(futures, "create topic", KafkaError.TOPIC_ALREADY_EXISTS)

    def grow(self, steps: Sequence[Grow]) -> None:
        """Add partitions."""
        if not steps:
            return
        futures = self._client.create_partitions(
            [NewPartitions(step.topic, step.partitions) for step in steps],
            request_timeout=VISIBLE_TIMEOUT,
            operation_timeout=VISIBLE_TIMEOUT,
        )
        # Refused so when they are there by now; else it is told by what is waited for.
        self.carry_out(futures, "add partitions to topic", KafkaError.INVALID_PARTITIONS)

    def alter(self, steps: Sequence[Alter]) -> None:
        """Set settings."""
        if not steps:
            return
        resources = [
            ConfigResource(
                ResourceType.TOPIC,
                step.topic,
                incremental_configs=[
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in step.config.items()
                ],
            )
            for step in steps
        ]
        futures = self._client.incremental_alter_configs(resources, request_timeout=REQUEST_TIMEOUT)
        self.carry_out({r.name: f for r, f in futures.items()}, "change the settings of topic")

    def carry_out(self, futures: Mapping[str, Future[Any]], verb: str, *fine: int) -> None:
        """Wait for all; report every topic that was refused, not only the first.

        Args:
            futures: by topic or group.
            verb: what was tried, as the message says it.
            fine: codes of errors that are none.

        Raises:
            TopicsError: the broker refuses; each with its reason.
            BrokerUnavailable: it does not answer.
        """
        refused = []
        for name, future in futures.items():
            error = future.exception()
            if isinstance(error, KafkaException):
                code = kafka_error(error).code()
                if code in fine:
                    continue
                ours = translate(error, f"cannot {verb} {name}", self._settings)
                if isinstance(ours, BrokerUnavailable):
                    raise ours from error
                refused.append(str(ours))
            elif error is not None:
                raise error
        if refused:
            raise TopicsError(*refused)
