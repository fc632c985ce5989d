"""What a group's coordinator tells of it, asked so that no answer does not end the process.

An admin client whose question to a coordinator has timed out ends its whole process by an assertion
when the coordinator is found after that (librdkafka 2.16: ``rd_kafka_admin_coord_request`` says
that the question is over, and ``rd_kafka_coord_req_fsm`` answers it once more). So the client is
never told of a timeout: who has waited long enough throws it away.
"""

from __future__ import annotations

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    ConsumerGroupDescription,
)

from streamjobs.kafka.config import admin_config
from streamjobs.settings import Settings

# Seconds until the client would give up; it does not live so long.
NEVER = 3_600.0


def describe_group(
    settings: Settings, group: str, timeout: float, *, rights: bool = False
) -> ConsumerGroupDescription:
    """Ask for a group's state, its members, and what each was given.

    Args:
        settings: of the process.
        group: the group's id, classic or KIP-848.
        timeout: seconds to wait for the answer.
        rights: whether to ask what we may do with the group, too.

    Raises:
        KafkaException: the client or the coordinator says why not.
        TimeoutError: no answer.
    """
    client = AdminClient(admin_config(settings))
    asked = client.describe_consumer_groups(
        [group], include_authorized_operations=rights, request_timeout=NEVER
    )
    found: ConsumerGroupDescription = asked[group].result(timeout)
    return found
