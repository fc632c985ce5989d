"""Reading topics from one offset to another, outside of any group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerUnavailable
from streamjobs.headers import Headers, headers_of
from streamjobs.kafka.config import consumer_config
from streamjobs.kafka.failures import translate
from streamjobs.settings import Settings, hide_userinfo

# Never committed to, never joined: a consumer needs a group's name all the same.
_GROUP = "streamjobs.reader"
_BATCH = 1000
# Longer than any leader change; after it the broker counts as gone.
_SILENCE = 30.0
# A committed transaction becomes readable within milliseconds; what is not by then is still open.
_PATIENCE = 3.0

Place = tuple[str, int]
Ranges = Mapping[Place, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lies in its topic.

    Attributes:
        topic: where it is.
        partition: where it is.
        offset: where it is.
        timestamp_ms: milliseconds since the epoch.
        key: as stored.
        value: as stored; None is a tombstone.
        headers: name and value in order; names that are not UTF-8 are unreadable, and with one
            such name the record's headers are empty.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def read(settings: Settings, ranges: Ranges, *, whole: bool = False) -> Iterator[Record]:
    """Yield the committed records of several partitions, each partition's in order.

    Records of a transaction that is open still, and what stands behind them, are left out after a
    wait of 3 s. Memory is bounded by one batch and the client's prefetch queue.

    Args:
        settings: of the process.
        ranges: partition to (first offset, offset to stop before).
        whole: leave nothing out: wait until open transactions have ended. The broker ends those of
            dead workers after 15 to 25 s.

    Raises:
        BrokerUnavailable: nothing came for 30 s while there was something to come.
    """
    left = {p: stop for p, (start, stop) in ranges.items() if start < stop}
    if not left:
        return
    consumer = Consumer(
        consumer_config(
            settings,
            _GROUP,
            group_protocol="classic",
            enable_partition_eof=True,
            isolation_level="read_committed",
        )
    )
    try:
        consumer.assign([TopicPartition(t, p, ranges[t, p][0]) for t, p in left])
        yield from _until_done(consumer, left, settings, whole=whole)
    except KafkaException as error:
        raise translate(error, "reading topics", settings) from error
    finally:
        consumer.close()


def _until_done(
    consumer: Consumer, left: dict[Place, int], settings: Settings, *, whole: bool
) -> Iterator[Record]:
    heard = monotonic()
    seen_to: dict[Place, int] = {}
    while left:
        messages = _consume(consumer)
        for message in messages:
            yield from _take(message, left, seen_to)
        if messages:
            # Only now: whoever is handed the records may take minutes over them.
            heard = monotonic()
            continue
        silence = monotonic() - heard
        if not whole and silence > _PATIENCE and left.keys() <= seen_to.keys():
            return
        if silence > _SILENCE:
            raise _silent(left, seen_to, settings)


def _silent(
    left: dict[Place, int], seen_to: dict[Place, int], settings: Settings
) -> BrokerUnavailable:
    where = hide_userinfo(settings.bootstrap_servers)
    if not left.keys() <= seen_to.keys():
        return BrokerUnavailable(f"reading topics: Kafka at {where} fell silent")
    held = ", ".join(f"{topic}[{p}] at {seen_to[topic, p]}" for topic, p in sorted(left)[:5])
    return BrokerUnavailable(
        f"reading topics: an open transaction holds {held} for over {_SILENCE:g} s: try again, "
        f"or look for it with kafka-transactions.sh --bootstrap-server {where} list"
    )


def _consume(consumer: Consumer) -> list[Message]:
    """One message as soon as there is one, and what else has come: ``consume`` waits for all."""
    first = consumer.poll(0.5)
    return [] if first is None else [first, *consumer.consume(_BATCH - 1, 0)]


def _take(message: Message, left: dict[Place, int], seen_to: dict[Place, int]) -> Iterable[Record]:
    place = (message.topic() or "", message.partition() or 0)
    offset = message.offset() or 0
    error = message.error()
    if error is not None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the constant's name)
            # Its offset is past transaction markers, which are no records and nobody sees.
            seen_to[place] = offset
            if offset >= left.get(place, 0):
                left.pop(place, None)
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)
        return
    stop = left.get(place)
    if stop is None:
        return
    if offset >= stop - 1:
        del left[place]
    if offset < stop:
        yield _record(message)


def _record(message: Message) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )
