"""Records that are produced and waited for, each delivery report looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamjobs.kafka.config import producer_config
from streamjobs.kafka.failures import kafka_error, missing
from streamjobs.kafka.outcome import CycleFailed, Written, does_not_exist
from streamjobs.kafka.rights import WRITE, lacking
from streamjobs.settings import Settings

# The most that librdkafka can be told.
MESSAGE_MAX_BYTES = 1_000_000_000
# Seconds that one call may take.
CALL_TIMEOUT = 1.0
# Seconds without a delivery report after which it is asked whether all topics are there.
PROGRESS_TIMEOUT = 0.5


# What a broker will say of the same record again, until somebody changes the topic or its rights.
PERMANENT = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the client's own codes are spelt so
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
})  # fmt: skip


# What is said of records that were not sent since something else had failed.
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001


class Delivering:
    """A producer whose delivery reports are all looked at."""

    def __init__(self, settings: Settings, **extra: Any) -> None:
        config = producer_config(
            settings,
            # What a main topic took has to be moved on: the topics' limits count, not the client's.
            message_max_bytes=MESSAGE_MAX_BYTES,
            # Records come in whole cycles and are flushed at once.
            **{"linger_ms": 0, **extra},
        )
        self._settings, self._config = settings, config
        self._producer = self._new_client()
        self._failures: dict[tuple[str, int], KafkaError] = {}

    def _new_client(self) -> Producer:
        return Producer(dict(self._config))

    @property
    def _purged(self) -> bool:
        """Whether the client has thrown records away, as it does when their transaction fails."""
        return any(error.code() in PURGED for error in self._failures.values())

    def _produce(self, records: Sequence[Written]) -> None:
        """Produce the records and wait until each is acknowledged.

        Raises:
            CycleFailed: some are not.
            KafkaException: the client has failed.
        """
        raised: object = None
        try:
            self._produce_all(records)
        except SystemError as error:
            # A fatal error is set as an exception while callbacks go on being called
            # (confluent-kafka 2.16, error_cb): the interpreter notices it behind one of those.
            if isinstance(error.__cause__, KafkaException):
                raise error.__cause__ from error
            # Or nothing is set at all, and the call has failed all the same.
            raise CycleFailed(f"the client has failed: {error}", fatal=True) from error
        except:  # noqa: E722 - the client may raise its error itself, which is no exception
            raised = sys.exc_info()[1]
            if not isinstance(raised, KafkaError):
                raise
        if isinstance(raised, KafkaError):
            raise KafkaException(raised)
        if self._failures:
            raise self._failed()

    def _failed(self) -> CycleFailed:
        """What was not delivered, and what of it never will be."""
        told = {pair: _told(*pair, error) for pair, error in self._failures.items()}
        absent = self.missing({topic for topic, _ in told})
        refused = {
            pair: does_not_exist(pair[0]) if pair[0] in absent else text
            for pair, text in told.items()
            if pair[0] in absent or self._failures[pair].code() in PERMANENT
        }
        some = sorted(set(told.values()))[:5]
        return CycleFailed("not delivered: " + "; ".join(some), refused=refused)

    def missing(self, topics: Iterable[str]) -> set[str]:
        """Ask the cluster which of these topics it does not have; asking makes none."""
        return missing(self._producer, topics, CALL_TIMEOUT)

    def _produce_all(self, records: Sequence[Written]) -> None:
        self._failures.clear()
        for record in records:
            while True:
                try:
                    self._producer.produce(
                        record.topic,
                        record.value,
                        record.key,
                        record.partition,
                        self._delivered,
                        headers=record.headers,
                    )
                    break
                except BufferError:
                    self._producer.poll(CALL_TIMEOUT)
                except KafkaException as error:
                    inner = kafka_error(error)
                    if inner.code() not in PERMANENT:
                        raise
                    self._failures[record.topic, record.partition] = inner
                    break
        self._flush(records)

    def _flush(self, records: Sequence[Written]) -> None:
        """Wait for the delivery reports; what goes to a topic that is not there is given up early.

        Such a record would only time out (``delivery.timeout.ms``), and other shards wait with it.
        """
        left = len(records)
        while before := left:
            left = self._producer.flush(PROGRESS_TIMEOUT)
            if not left or left < before:
                continue
            if absent := self.missing({record.topic for record in records}):
                self._failures |= {
                    (record.topic, record.partition): KafkaError(KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001
                    for record in records
                    if record.topic in absent
                }
                self._producer.purge(in_flight=False)
                self._producer.flush(PROGRESS_TIMEOUT)  # its reports are not the next cycle's
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            # A purged one tells of the abort, not of what led to it.
            pair = (message.topic() or "", message.partition() or 0)
            if pair not in self._failures or error.code() in PERMANENT:
                self._failures[pair] = error


def _told(topic: str, partition: int, error: KafkaError) -> str:
    """What the broker said of a record, with what grants the right that is missing."""
    told = f"{topic}[{partition}]: {error.str()}"
    denied = error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    return f"{told}: {lacking(WRITE, 'topic', topic)}" if denied else told
