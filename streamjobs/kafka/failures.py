"""What Kafka's errors mean to us, and the question whether there is a broker at all."""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streamjobs.clock import monotonic
from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    EnqueueError,
    StreamjobsError,
    TopicsError,
)
from streamjobs.kafka.config import admin_config, check_properties, silent
from streamjobs.settings import Settings, hide_userinfo

BROKER_TIMEOUT = 15.0

_UNAVAILABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
    }
)
_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# What is said to a member that the group has removed. Not that its generation is an old one: under
# KIP-848 that may only mean that there is a newer one for it.
REMOVED = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
# What is said of a commit that has more beside an offset than the brokers keep.
TEXT_TOO_LONG = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE).str()
# What is said of a request that the broker does not know.
UNSUPPORTED = KafkaError._UNSUPPORTED_FEATURE
# What is said of a topic or partition that does not exist.
NO_TOPIC = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def missing(client: Consumer | Producer, topics: Iterable[str], timeout: float) -> set[str]:
    """Ask the cluster by name which of these topics it does not have; asking makes none."""
    found = set()
    for topic in topics:
        try:
            error = client.list_topics(topic, timeout).topics[topic].error
        except (KafkaException, KeyError):
            continue
        if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            found.add(topic)
    return found


def kafka_error(error: KafkaError | KafkaException) -> KafkaError:
    """Return the error inside an exception."""
    if isinstance(error, KafkaException):
        inner: KafkaError = error.args[0]
        return inner
    return error


def translate(
    error: KafkaError | KafkaException, doing: str, settings: Settings
) -> StreamjobsError:
    """Turn Kafka's error into one of ours, to be raised by the caller.

    Args:
        error: as raised, or as given to a callback.
        doing: what was tried, as the message begins: ``"reading topic shop.schemas"``.
        settings: for the address.

    Returns:
        AuthenticationError, BrokerUnavailable, TopicsError, else EnqueueError with Kafka's
        own opinion about trying again.
    """
    inner = kafka_error(error)
    code = inner.code()
    where = hide_userinfo(settings.bootstrap_servers)
    if code in _REFUSED:
        return AuthenticationError(
            f"{doing}: the broker at {where} refuses us ({inner.str()}): check the sasl.*, "
            "security.* and ssl.* properties (STREAMJOBS_KAFKA_…) and the rights of that user"
        )
    if code in _UNAVAILABLE:
        return BrokerUnavailable(
            f"{doing}: no answer from Kafka at {where} ({inner.str()}): "
            "check that the broker runs and that STREAMJOBS_BOOTSTRAP_SERVERS is right"
        )
    if code in NO_TOPIC:
        return TopicsError(
            f"{doing}: Kafka at {where} has no such topic ({inner.str()}): "
            "'streamjobs -A module:app topics apply' makes what is missing"
        )
    return EnqueueError(f"{doing}: {inner.str()}", retriable=bool(inner.retriable()))


def unanswered(doing: str, settings: Settings) -> BrokerUnavailable:
    """Say that not even the client has answered in time: its process stood still, for one."""
    where = hide_userinfo(settings.bootstrap_servers)
    return BrokerUnavailable(f"{doing}: no answer from the client of Kafka at {where}")


def require_broker(settings: Settings, timeout: float = BROKER_TIMEOUT) -> None:
    """Return when a broker answers at the bootstrap address and lets us in.

    Args:
        settings: with the address and the credentials.
        timeout: seconds.

    Raises:
        SettingsError: librdkafka does not know a property, or not its value.
        BrokerUnavailable: nobody answered in time.
        AuthenticationError: somebody did, and refused us.
    """
    list_topics(settings, timeout)


def list_topics(settings: Settings, timeout: float = BROKER_TIMEOUT) -> frozenset[str]:
    """Return the names of all topics; asking makes none come into being.

    Raises:
        SettingsError: librdkafka does not know a property, or not its value.
        BrokerUnavailable: nobody answered in time.
        AuthenticationError: somebody did, and refused us.
    """
    check_properties(settings)
    refusals: list[KafkaError] = []

    def listen(error: KafkaError) -> None:
        if error.code() in _REFUSED:
            refusals.append(error)

    # What goes wrong on the way is told once, by the error raised here.
    admin = AdminClient(admin_config(settings, error_cb=listen, logger=silent))
    deadline = monotonic() + timeout
    while (left := deadline - monotonic()) > 0:
        try:
            return frozenset(admin.list_topics(timeout=min(left, 1.0)).topics)
        except KafkaException as error:
            admin.poll(0)
            if error.args[0].code() in _REFUSED:
                refusals.append(error.args[0])
        if refusals:
            raise translate(refusals[0], "connecting", settings)
    raise BrokerUnavailable(
        f"no Kafka broker answers at {hide_userinfo(settings.bootstrap_servers)} within "
        f"{timeout:g} s: start one (streamjobs broker) or set STREAMJOBS_BOOTSTRAP_SERVERS"
    )
