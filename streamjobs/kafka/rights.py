"""Rights that brokers deny us: which they are, and the command that grants them.

A client learns little of them: a transaction that may not write to one of its topics says so, and
not to which, and of a topic that cannot be read nothing comes. But a broker tells of each topic and
group what whoever asks may do with it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclOperation,
    AdminClient,
)

from streamjobs.errors import AuthenticationError, BrokerUnavailable, StreamjobsError
from streamjobs.kafka.answers import REQUEST_TIMEOUT, gather
from streamjobs.kafka.config import admin_config, consumer_config, silent
from streamjobs.kafka.failures import UNSUPPORTED, kafka_error, translate, unanswered
from streamjobs.kafka.groups import describe_group
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

logger = logging.getLogger("streamjobs.kafka")

READ, WRITE = AclOperation.READ, AclOperation.WRITE
DESCRIBE, DESCRIBE_CONFIGS = AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS
# Seconds that the loop may wait to be told what it may write to.
QUICK_TIMEOUT = 1.0
# Seconds that a group's coordinator may take to say that it is there.
COORDINATOR_TIMEOUT = 2.0
# By whose name the command is known in which a right is missing.
COMMAND = "kafka-acls.sh"

_NO_TOPIC, _NO_GROUP, _NO_ID = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
# What is said of a group that is not there, or by brokers that do not tell what is allowed.
_NOT_TOLD = frozenset({KafkaError.GROUP_ID_NOT_FOUND, UNSUPPORTED})
# What is said of requests to which we have no right.
GROUP_DENIED = KafkaError(_NO_GROUP).str()
DENIED = (GROUP_DENIED, KafkaError(_NO_TOPIC).str(), KafkaError(_NO_ID).str())

# By topic, what is to be done with it.
Needs = Mapping[str, Collection[AclOperation]]


def is_denial(error: KafkaError) -> bool:
    """Whether a broker says that we have no right to a topic or group."""
    return error.code() in {_NO_TOPIC, _NO_GROUP}


def needs_of(
    topics: QueueTopics,
    *,
    reads: Collection[str],
    writes: Collection[float],
    schemas: str | None,
    at_start: bool = False,
) -> dict[str, set[AclOperation]]:
    """What a worker does with which topic of its queue.

    Args:
        topics: of the queue.
        reads: its retry topics.
        writes: the delays of those that it moves jobs to, in seconds.
        schemas: the schema log, where there is one.
        at_start: whether it compares their settings too, which it does once.
    """
    needs = {topic: {READ} for topic in (*topics.mains, *reads)}
    for topic in (*map(topics.tier, writes), topics.dlq):
        needs.setdefault(topic, set()).add(WRITE)
    needs[topics.marks] = {DESCRIBE}
    if schemas is not None:
        needs[schemas] = {READ}
    if at_start:
        for operations in needs.values():
            operations.add(DESCRIBE_CONFIGS)
    return needs


def lacking(operation: AclOperation, kind: str, name: str, *, prefixed: bool = False) -> str:
    """Say that a right is missing, and what grants it.

    Args:
        operation: what may not be done.
        kind: ``topic``, ``group`` or ``transactional-id``.
        name: of the topic, group or id.
        prefixed: whether it is the beginning of all such names.
    """
    what = f"{kind.replace('-', ' ')}{'s' if prefixed else ''} {name}{'*' if prefixed else ''}"
    camel = "".join(word.capitalize() for word in operation.name.split("_"))
    pattern = " --resource-pattern-type prefixed" if prefixed else ""
    return (
        f"no right to {operation.name} {what}: {COMMAND} --bootstrap-server HOST:PORT --add "
        f"--allow-principal User:NAME --operation {camel} --{kind} {name}{pattern} (and an ACL "
        "that denies it has to go)"
    )


def denied(client: AdminClient, settings: Settings, needs: Needs, group: str | None) -> list[str]:
    """Ask what we may not do of what we need to do, a sentence each with what grants it.

    Of brokers that do not tell, and of topics that are not there, nothing is said.

    Args:
        client: asks.
        settings: of the process.
        needs: by topic, what is to be done with it.
        group: that is to be joined; None: it is not asked for.

    Raises:
        StreamjobsError: no answer.
    """
    found = [
        lacking(operation, "topic", topic)
        for topic, operations in _missing(client, settings, needs).items()
        for operation in operations
    ]
    if group is None:
        return found
    allowed = _allowed_of_group(settings, group, next(iter(needs)))
    return found + [lacking(x, "group", group) for x in _lacks({READ}, allowed)]


def refused_topics(settings: Settings, topics: Collection[str]) -> dict[str, str]:
    """Ask which of these topics we may not write to, and say of each what grants it.

    Where the broker does not tell, it is said of all: one of them it is.
    """
    needs = dict.fromkeys(topics, (WRITE,))
    try:
        client = AdminClient(admin_config(settings))
        missing = _missing(client, settings, needs, timeout=QUICK_TIMEOUT)
    except StreamjobsError as error:
        logger.info("our rights are not known: %s", error)
        missing = {topic: [WRITE] for topic in topics}
    return {topic: lacking(found[0], "topic", topic) for topic, found in missing.items() if found}


def refused_id(transactional_id: str) -> str:
    """Say that a transactional id of a worker may not be used; each is GROUP.PROCESS.RANDOM."""
    start = transactional_id.rsplit(".", 2)[0] + "."
    return lacking(WRITE, "transactional-id", start, prefixed=True)


def _allowed_of_group(
    settings: Settings, group: str, topic: str
) -> Collection[AclOperation] | None:
    """What we may do with a group; None: not even ask; empty: that is not told.

    A consumer asks first whether its coordinator answers: where we may not even ask which one that
    is, an admin client asks for ever.
    """
    try:
        if not is_coordinated(settings, group, topic):
            return ()
    except AuthenticationError:
        return None
    try:
        found = describe_group(settings, group, REQUEST_TIMEOUT, rights=True)
    except KafkaException as error:
        inner = kafka_error(error)
        if inner.code() == _NO_GROUP:
            return None
        if inner.code() in _NOT_TOLD:
            return ()
        ours = translate(inner, f"asking for our rights to group {group}", settings)
        if not isinstance(ours, BrokerUnavailable):
            raise ours from error
    except TimeoutError:
        pass
    else:
        told: Any = found.authorized_operations  # its stubs say less than what it is
        return told or ()
    logger.debug("our rights to group %s are not told", group)
    return ()


def is_coordinated(settings: Settings, group: str, topic: str) -> bool:
    """Whether a group's coordinator answers.

    Raises:
        AuthenticationError: we may not ask it.
    """
    consumer = Consumer(consumer_config(settings, group, logger=silent))
    try:
        consumer.committed([TopicPartition(topic, 0)], timeout=COORDINATOR_TIMEOUT)
    except KafkaException as error:
        if kafka_error(error).code() == _NO_GROUP:
            raise AuthenticationError(lacking(DESCRIBE, "group", group)) from error
        logger.debug("group %s: no answer from its coordinator: %s", group, error)
        return False
    finally:
        consumer.close()
    return True


def _missing(
    client: AdminClient, settings: Settings, needs: Needs, timeout: float = REQUEST_TIMEOUT
) -> dict[str, list[AclOperation]]:
    asked = client.describe_topics(
        TopicCollection(list(needs)), include_authorized_operations=True, request_timeout=timeout
    )
    told = _told(asked, "asking for our rights to topics", settings, _NO_TOPIC)
    return {topic: _lacks(needs[topic], allowed) for topic, allowed in told.items()}


def _told(
    asked: Mapping[str, Future[Any]], doing: str, settings: Settings, refusal: int
) -> dict[str, Collection[AclOperation] | None]:
    """What is allowed of each; None: not even to ask; absent: it is not there."""
    told: dict[str, Collection[AclOperation] | None] = {}
    others = {}
    for name, future in asked.items():
        try:
            error = future.exception(REQUEST_TIMEOUT + 5)
        except TimeoutError as late:
            raise unanswered(doing, settings) from late
        if isinstance(error, KafkaException) and kafka_error(error).code() == refusal:
            told[name] = None
        else:
            others[name] = future
    absent = KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND
    answer = gather(others, doing, settings, *absent)
    return told | {name: each.authorized_operations or () for name, each in answer.items()}


def _lacks(
    needed: Collection[AclOperation], allowed: Collection[AclOperation] | None
) -> list[AclOperation]:
    """What is needed and not allowed; nothing where that is not told."""
    if allowed is None:
        return [DESCRIBE]
    if not allowed:
        return []
    return sorted(set(needed).difference(allowed), key=lambda operation: operation.name)
