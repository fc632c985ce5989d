"""Which group protocol a broker speaks: found out by joining a throw-away group.

A broker that has KIP-848 switched off says so. One that does not know it stays silent, and so does
one whose group coordinator is away; of these two the second must not be taken for the first, or
this worker would join its group by another protocol than the others. So who is silent is asked to
join the same group by the older protocol, which every broker with a coordinator answers.
"""

from __future__ import annotations

import logging
import secrets
from enum import Enum, auto

from confluent_kafka import Consumer, KafkaError, KafkaException

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka.config import consumer_config, silent
from streamjobs.settings import Settings, hide_userinfo

logger = logging.getLogger("streamjobs.kafka")

# A broker that has the protocol assigns within a second.
PROBE_TIMEOUT = 5.0
# The older protocol: brokers wait 3 s for more members of a new group, unless they are told.
CLASSIC_TIMEOUT = 8.0
# Once more, when it is known that the coordinator is there.
AGAIN_TIMEOUT = 2.0

# What a fatal error is about is told only as text (librdkafka 2.16 has no call for it in Python).
_TOO_OLD = KafkaError(KafkaError.UNSUPPORTED_VERSION).str()
_FORBIDDEN = frozenset(
    {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED}
)


class Answer(Enum):
    """What came of joining a throw-away group."""

    ASSIGNED = auto()
    UNSUPPORTED = auto()
    REFUSED = auto()
    SILENT = auto()


def resolve_protocol(settings: Settings, topic: str) -> str:
    """Return ``consumer`` (KIP-848) or ``classic``; probes when the settings say ``auto``.

    Args:
        settings: of the process.
        topic: one that exists.

    Raises:
        BrokerUnavailable: no group coordinator answers, whatever the protocol; ask again.
    """
    if settings.group_protocol != "auto":
        return settings.group_protocol
    group = f"{topic}.probe.{secrets.token_hex(4)}"
    answer = _ask(settings, group, topic, "consumer", PROBE_TIMEOUT)
    if answer is Answer.SILENT:
        if _ask(settings, group, topic, "classic", CLASSIC_TIMEOUT) is Answer.SILENT:
            raise BrokerUnavailable(
                f"Kafka at {hide_userinfo(settings.bootstrap_servers)} lets nobody join a group: "
                "its group coordinator does not answer, so the group protocol is not known; set "
                "STREAMJOBS_GROUP_PROTOCOL to consumer or classic if it is"
            )
        answer = _ask(settings, group, topic, "consumer", AGAIN_TIMEOUT)
    protocol = "consumer" if answer is Answer.ASSIGNED else "classic"
    logger.info("group protocol: %s, as the broker answered", protocol)
    return protocol


def _ask(settings: Settings, group: str, topic: str, protocol: str, timeout: float) -> Answer:
    """Join the group, which nobody else is in, and leave it again."""
    config = consumer_config(settings, group, group_protocol=protocol, logger=silent)
    consumer = Consumer(config)
    assigned: list[bool] = []
    try:
        consumer.subscribe([topic], on_assign=lambda *_: assigned.append(True))
        deadline = monotonic() + timeout
        while not assigned and (left := deadline - monotonic()) > 0:
            message = consumer.poll(min(left, 0.1))
            error = None if message is None else message.error()
            if error is not None and (answer := _refusal(error)) is not None:
                if answer is Answer.REFUSED:
                    logger.warning(
                        "group protocol: classic is taken, since the broker refuses us group %s, "
                        "by which it is found out (%s): allow the prefix %s.probe., or set "
                        "STREAMJOBS_GROUP_PROTOCOL",
                        *(group, error.str(), topic),
                    )
                return answer
    except KafkaException:
        return Answer.UNSUPPORTED
    finally:
        consumer.close()
    return Answer.ASSIGNED if assigned else Answer.SILENT


def _refusal(error: KafkaError) -> Answer | None:
    """What an error says for good; None where it may pass."""
    if error.code() == KafkaError._FATAL:  # noqa: SLF001 - the client's own codes are spelt so
        return Answer.UNSUPPORTED if _TOO_OLD in error.str() else Answer.REFUSED
    return Answer.REFUSED if error.code() in _FORBIDDEN else None
