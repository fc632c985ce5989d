"""Writer schemas in a compacted topic: ``PREFIX.schemas``, fingerprint to schema text.

The key is the CRC-64-AVRO fingerprint as 16 hex digits, in the order of the bytes in a record's
head; the value is the schema's JSON. Of two texts of one fingerprint the first stands. Compaction
would keep the last: whoever finds that another was first writes that one again behind his own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.codec.schema import fingerprint
from streamjobs.codec.store import (
    SINGLE_OBJECT,
    SINGLE_OBJECT_SIZE,
    check_same_meaning,
    single_object_prefix,
)
from streamjobs.errors import (
    AuthenticationError,
    InvalidRecord,
    SchemaUnavailable,
    StreamjobsError,
    TopicsError,
)
from streamjobs.kafka.config import consumer_config, silent
from streamjobs.kafka.failures import translate
from streamjobs.kafka.producer import connected_producer
from streamjobs.settings import Settings, hide_userinfo

logger = logging.getLogger("streamjobs.schemas")

TIMEOUT = 15.0
# Fingerprints that nobody registered may come with every record of a hostile producer: one reading
# answers for all records that came before it began, and there are at most four in a second.
READ_INTERVAL = 0.25


class SchemaLog:
    """The schema log of one app; safe from every thread, made anew after a fork.

    Args:
        settings: of the process.
        topic: ``PREFIX.schemas``.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._texts: dict[bytes, str] = {}
        self._prefixes: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._readings = 0
        self._began = -READ_INTERVAL
        self._failure: StreamjobsError | None = None

    def prefix(self, topic: str, name: str, schema: str) -> bytes:  # noqa: ARG002 - the protocol's
        """Make sure that the log has ``schema``; see ``SchemaStore``.

        Raises:
            SchemaConflict: the log has a text of other logical types under its fingerprint.
            SchemaUnavailable: no answer from the broker.
            TopicsError: there is no such topic.
            AuthenticationError: the broker refuses us.
        """
        known = self._prefixes.get(schema)
        if known is not None:
            return known
        prefix = single_object_prefix(schema)
        with self._lock:
            if prefix not in self._texts:
                self._read()
            kept = self._texts.get(prefix) or self._add(prefix, schema)
        check_same_meaning(prefix, name, kept, schema)
        self._prefixes[schema] = prefix
        return prefix

    def schema(self, prefix: bytes) -> str:
        """Return the text of a writer schema; see ``SchemaStore``.

        Waits up to a quarter of a second, and for a reading, where the fingerprint is unknown.

        Raises:
            InvalidRecord: the log has no such schema.
            SchemaUnavailable: the log does not answer, or is not there.
        """
        text = self._texts.get(prefix)
        if text is not None:
            return text
        if len(prefix) != SINGLE_OBJECT_SIZE or not prefix.startswith(SINGLE_OBJECT):
            raise InvalidRecord(
                f"a record that begins with {prefix.hex() or 'nothing'} refers to no schema in "
                f"{self._topic}"
            )
        self._read_for(self._readings)
        text = self._texts.get(prefix)
        if text is None:
            raise InvalidRecord(
                f"topic {self._topic} has no schema of fingerprint {prefix[2:].hex()}: the record "
                "is not ours, or was written without its schema being registered"
            )
        return text

    def _read_for(self, seen: int) -> None:
        """Read the log, unless somebody began to after ``seen`` readings: that answers us too."""
        with self._lock:
            if self._readings == seen:
                pause = self._began + READ_INTERVAL - monotonic()
                if pause > 0:
                    threading.Event().wait(pause)
                try:
                    self._read()
                except StreamjobsError as error:
                    self._failure = error
            if self._failure is not None:
                raise SchemaUnavailable(str(self._failure)) from self._failure

    def _add(self, prefix: bytes, schema: str) -> str:
        """Write a schema and return the text that stands first under its fingerprint."""
        self._write(prefix, schema)
        self._read()
        kept = self._texts.get(prefix)
        if kept is None:
            raise SchemaUnavailable(
                f"topic {self._topic} does not show the schema that was just written to it"
            )
        if kept != schema:
            self._write(prefix, kept)
        return kept

    def _write(self, prefix: bytes, schema: str) -> None:
        doing = f"writing a schema to {self._topic}"
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        producer = connected_producer(self._settings)
        try:
            # Read is the first partition alone, however many somebody has added.
            key = prefix[2:].hex()
            producer.produce(self._topic, schema.encode(), key, 0, on_delivery=delivered)
            left = producer.flush(TIMEOUT)
        except KafkaException as error:
            raise self._trouble(error, doing) from error
        if failures:
            raise self._trouble(failures[0], doing)
        if left:
            raise SchemaUnavailable(f"{doing}: not acknowledged within {TIMEOUT:g} s")

    def _read(self) -> None:
        """Take in what the log has beyond what was read before."""
        self._readings += 1
        self._failure = None
        self._began = monotonic()
        # A group's name is required, and never used: nothing is joined or committed.
        consumer = Consumer(
            consumer_config(
                self._settings, f"{self._topic}.reader", group_protocol="classic", logger=silent
            )
        )
        try:
            self._require_topic(consumer)
            consumer.assign([TopicPartition(self._topic, 0, self._next)])
            for message in self._until_end(consumer):
                self._take(message)
                self._next = (message.offset() or 0) + 1
        except KafkaException as error:
            raise self._trouble(error, f"reading topic {self._topic}") from error
        finally:
            consumer.close()

    def _require_topic(self, consumer: Consumer) -> None:
        found = consumer.list_topics(self._topic, timeout=TIMEOUT).topics.get(self._topic)
        if found is None or found.error is not None:
            raise TopicsError(
                f"topic {self._topic} does not exist: 'streamjobs -A module:app topics apply' "
                "makes what the app needs"
            )

    def _until_end(self, consumer: Consumer) -> Iterator[Message]:
        deadline = monotonic() + TIMEOUT
        while monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                return
            elif not error.retriable():
                raise KafkaException(error)
        where = hide_userinfo(self._settings.bootstrap_servers)
        raise SchemaUnavailable(
            f"topic {self._topic} could not be read to its end within {TIMEOUT:g} s: check that "
            f"Kafka at {where} is well"
        )

    def _take(self, message: Message) -> None:
        """Keep the first text of each fingerprint; what is no schema of that key is not one."""
        key, value = message.key(), message.value()
        if key is None or value is None:
            return
        try:
            text = value.decode() if isinstance(value, bytes) else value
            proper = bytes.fromhex(key.decode() if isinstance(key, bytes) else key)
            matches = fingerprint(text) == proper
        except Exception:  # noqa: BLE001 - whatever a parser raises on what somebody wrote there
            matches = False
        if not matches:
            logger.warning(
                "topic %s, offset %s: ignored, its value is no schema of its key's fingerprint",
                self._topic,
                message.offset(),
            )
            return
        self._texts.setdefault(SINGLE_OBJECT + proper, text)

    def _trouble(self, error: KafkaError | KafkaException, doing: str) -> StreamjobsError:
        told = translate(error, doing, self._settings)
        if isinstance(told, AuthenticationError | TopicsError):
            return told
        return SchemaUnavailable(str(told))
