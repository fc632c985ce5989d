"""The properties every client gets: what the guarantees need, said aloud.

Order of precedence: what one client needs (``extra``), then the user's, then ours. The user's
cannot break a guarantee: ``settings`` has refused those already.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from streamjobs.errors import SettingsError
from streamjobs.settings import MAX_POLL_INTERVAL_MS, SESSION_TIMEOUT_MS, Settings
from streamjobs.topics import HEADER_ROOM, MAIN_MAX_BYTES

Config = dict[str, Any]

logger = logging.getLogger("streamjobs.kafka")

ENQUEUE_TIMEOUT_MS = 30_000
# An open transaction of a dead worker holds readers up until it expires; a cycle takes
# milliseconds, so this is generous. Delivery has to give up first, and a request not much later
# (librdkafka insists on both).
TRANSACTION_TIMEOUT_MS, DELIVERY_TIMEOUT_MS = 15_000, 10_000

_COMMON: Mapping[str, str] = {
    "client.id": "streamjobs",
    # The default of 100 ms holds up the first send to each partition of a transaction.
    "retry.backoff.ms": "10",
    "retry.backoff.max.ms": "1000",
    "reconnect.backoff.max.ms": "2000",
    # Connections that idle are closed by the broker; that is no error worth a log line.
    "log.connection.close": "false",
    # A producer's default is true, an admin client's too: on brokers that make topics by themselves
    # a deleted retry topic or DLQ would come back with their number of partitions.
    "allow.auto.create.topics": "false",
}

_PRODUCER: Mapping[str, str] = {
    "enable.idempotence": "true",
    "acks": "all",
    # librdkafka's default is CRC32: Java producers would put the same key elsewhere.
    "partitioner": "murmur2_random",
    "delivery.timeout.ms": str(ENQUEUE_TIMEOUT_MS),
}

_CONSUMER: Mapping[str, str] = {
    "auto.offset.reset": "earliest",
    "enable.auto.offset.store": "false",
    "enable.auto.commit": "false",
    "isolation.level": "read_committed",
    "enable.partition.eof": "true",
    "max.poll.interval.ms": str(MAX_POLL_INTERVAL_MS),
    # One prefetch queue per consumer: with the defaults a due retry comes out behind 100,000
    # records of main; with these throughput is the same.
    "queued.min.messages": "2000",
    "queued.max.messages.kbytes": "8192",
    "fetch.wait.max.ms": "100",
    # The default of 1000 makes a fast consumer wait a second whenever its queue was full.
    "fetch.queue.backoff.ms": "10",
    # A fetch brings at most this much of a partition: more would stand before a due retry in the
    # one prefetch queue. 128 KiB is about a thousand small jobs.
    "fetch.message.max.bytes": "131072",
}
# Both assignors give a member the same partition numbers of every topic it reads.
_CLASSIC: Mapping[str, str] = {
    "group.protocol": "classic",
    "partition.assignment.strategy": "range",
    "session.timeout.ms": str(SESSION_TIMEOUT_MS),
    # With the default of 3 s the members that are left hear up to 3 s late that one was forgotten.
    "heartbeat.interval.ms": "500",
}
_KIP_848: Mapping[str, str] = {"group.protocol": "consumer", "group.remote.assignor": "range"}
# Other names of properties that we set: whatever is set last would count.
_ALIASES: Mapping[str, str] = {
    "message.timeout.ms": "delivery.timeout.ms",
    "queue.buffering.max.ms": "linger.ms",
}
# Under KIP-848 these belong to the group's configuration on the broker; the client refuses them.
_CLASSIC_ONLY = ("session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type")


class _OneForAll(logging.Filter):
    """Drop warnings that a consumer ignores producers' properties and the other way round.

    The user has one set of properties for all clients, so that is how it has to be.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "will be ignored by this" not in record.getMessage()


logger.addFilter(_OneForAll())
# For clients that only try something, and whose troubles are told by an exception.
silent = logging.getLogger("streamjobs.kafka.silent")
silent.propagate = False
silent.addHandler(logging.NullHandler())


def producer_config(settings: Settings, **extra: Any) -> Config:
    """Return the properties of a producer.

    ``message.max.bytes`` is that of main topics and room for the headers of a move beside it: what
    fitted into main has to fit on its way on. The client holds jobs to the limit without the room.

    Args:
        settings: of the process.
        extra: what this producer needs beside, underscores for dots
            (``transactional_id="…"``); it wins.
    """
    limit = record_limit(settings) + HEADER_ROOM
    return _config(settings, _PRODUCER, {"message.max.bytes": str(limit), **extra})


def transactional_extra(settings: Settings, transactional_id: str) -> Config:
    """Return what a producer of transactions needs beside, whatever others may be given."""
    limit = TRANSACTION_TIMEOUT_MS
    extra: Config = {
        "transactional_id": transactional_id,
        "transaction_timeout_ms": limit,
        "delivery_timeout_ms": DELIVERY_TIMEOUT_MS,
        "linger_ms": 0,
    }
    if (asked := str(settings.kafka.get("socket.timeout.ms", ""))).isdigit():
        extra["socket_timeout_ms"] = min(int(asked), limit)
    return extra


def record_limit(settings: Settings) -> int:
    """Return the most bytes that a job's record may have in its main topic."""
    return int(settings.kafka.get("message.max.bytes", MAIN_MAX_BYTES))


def consumer_config(settings: Settings, group: str, **extra: Any) -> Config:
    """Return the properties of a consumer of ``group``.

    ``group_protocol="auto"`` means classic here: who has probed the broker says what it found
    with ``group_protocol="consumer"`` in ``extra``.

    Args:
        settings: of the process.
        group: the consumer group, also for consumers that only assign.
        extra: what this consumer needs beside, underscores for dots; it wins.
    """
    dotted = _dotted(extra)
    protocol = dotted.get("group.protocol", settings.group_protocol)
    ours = _KIP_848 if protocol == "consumer" else _CLASSIC
    config = _config(settings, {**_CONSUMER, **ours, "group.id": group}, extra)
    if protocol == "consumer":
        for name in _CLASSIC_ONLY:
            config.pop(name, None)
    return config


def admin_config(settings: Settings, **extra: Any) -> Config:
    """Return the properties of an admin client."""
    return _config(settings, {}, extra)


def check_properties(settings: Settings) -> None:
    """Ask librdkafka whether it knows the user's properties and takes their values.

    Raises:
        SettingsError: naming every property it refuses; values are not shown.
    """
    if not settings.kafka:
        return
    problems = refused_properties(settings.kafka)
    for config in (
        producer_config(settings),
        producer_config(settings, **transactional_extra(settings, "check")),
    ):
        if not problems and (together := _refused(config, settings)):
            problems = [f"kafka properties: {together}"]
    if problems:
        raise SettingsError(*problems)


def refused_properties(kafka: Mapping[str, str]) -> list[str]:
    """Return a sentence for each property that librdkafka does not know, or not with its value."""
    return [
        f"kafka property {name}: {problem}"
        for name, value in kafka.items()
        if (problem := _refused({name: value}, None))
    ]


def _refused(config: Mapping[str, Any], settings: Settings | None) -> str | None:
    """Return why librdkafka makes no client of these properties, or None when it does.

    One property is tried without the rest: pairs that do not go together, such as a mechanism
    without its protocol, are judged with the whole set only.
    """
    try:
        Producer({**config, "bootstrap.servers": ""}, logger=silent)
        if settings is not None:
            whole = {**consumer_config(settings, "check"), "bootstrap.servers": ""}
            Consumer(whole, logger=silent).close()
    except KafkaException as error:
        reason = str(error.args[0].str())
        if settings is None and reason.startswith("Failed to create"):
            return None
        return re.sub(r"^Failed to create \w+( client)?: ", "", reason)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _config(settings: Settings, ours: Mapping[str, str], extra: Mapping[str, Any]) -> Config:
    return {
        **_COMMON,
        **ours,
        **{_ALIASES.get(name, name): value for name, value in settings.kafka.items()},
        "bootstrap.servers": settings.bootstrap_servers,
        "logger": logger,
        **_dotted(extra),
    }


def _dotted(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Spell keyword names as Kafka does; callbacks keep their names."""
    return {
        name if name.endswith("_cb") or name.startswith("on_") else name.replace("_", "."): value
        for name, value in extra.items()
    }
