"""Producers as the client uses them: one for single jobs, one for many; whole errors back.

Two, because they are polled differently. Single jobs are reported by a thread, so that
any number of threads and event loops can wait for theirs. A bulk producer is polled by whoever
fills it: confluent-kafka takes the interpreter's lock anew for every delivery report, and beside a
thread that holds it a poller gets it two hundred times a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    ConfigurationError,
    EnqueueError,
    SchemaUnavailable,
    StreamjobsError,
)
from streamjobs.kafka.config import check_properties, producer_config
from streamjobs.kafka.failures import translate
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.client")

# Called once with (None, partition, offset), or with (error, -1, -1); from the poller's thread.
Report = Callable[[StreamjobsError | None, int, int], None]

# Seconds that closing waits: more than a delivery can take.
CLOSE_TIMEOUT = 35.0
_POLL = 0.1
# Reports are taken this often while a bulk is being filled: often enough that memory stays flat.
_POLL_EVERY = 500


def enqueue_error(error: StreamjobsError) -> StreamjobsError:
    """Return what an enqueue that met ``error`` raises.

    Trouble that may pass is an EnqueueError; what is configured wrong, or refused, stays itself.
    """
    if isinstance(error, EnqueueError | AuthenticationError | ConfigurationError):
        return error
    passes = isinstance(error, BrokerUnavailable | SchemaUnavailable)
    return EnqueueError(str(error), retriable=passes)


def connected_producer(settings: Settings, **extra: str) -> Producer:
    """Return a producer that has met its broker, where there is one.

    An idempotent producer asks for its id at once, finds no connection yet and asks again
    after half a second: asking for the topics first takes a tenth of that.

    Raises:
        SettingsError: librdkafka does not know a property.
    """
    check_properties(settings)
    producer = Producer(producer_config(settings, **extra))
    with contextlib.suppress(KafkaException):  # the first delivery report tells it better
        producer.list_topics(timeout=5.0)
    return producer


class Sender:
    """A producer for single jobs, with a thread that delivers the reports.

    Args:
        settings: of the process.

    Raises:
        SettingsError: librdkafka does not know a property.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A job enqueued alone gains nothing by waiting for others to share its batch.
        linger = {} if "linger.ms" in settings.kafka else {"linger.ms": "0"}
        self._producer = connected_producer(settings, **linger)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=_poll, args=(self._producer, self._stop), name="streamjobs-reports", daemon=True
        )
        self._thread.start()

    def send(self, topic: str, key: bytes | None, value: bytes, report: Report) -> bool:
        """Send a record; ``report`` is called when the log has it, or has not.

        Returns:
            False where the client's queue is full: nothing was sent, try again.

        Raises:
            StreamjobsError: it cannot be sent.
        """
        settings = self._settings

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                report(None, message.partition() or 0, message.offset() or 0)
            else:
                failure = translate(error, f"sending to {topic}", settings)
                report(enqueue_error(failure), -1, -1)

        return _queue(self._producer, settings, topic, (key, value), delivered)

    def close(self, timeout: float) -> int:
        """Wait until everything is reported; return how many records are not."""
        left = _flush(self._producer, timeout)
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        return left


def _poll(producer: Producer, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            producer.poll(_POLL)
        except Exception:
            # A report must not end the thread that all others wait for.
            logger.exception("a delivery report could not be passed on")


def _flush(producer: Producer, timeout: float) -> int:
    """Wait until all is reported; what is late is given up, so that nobody waits for its report."""
    left = producer.flush(timeout)
    if left:
        producer.purge()
        producer.flush(1.0)
    return left


def _queue(
    producer: Producer,
    settings: Settings,
    topic: str,
    record: tuple[bytes | None, bytes],
    delivered: Callable[[KafkaError | None, Message], None],
) -> bool:
    """Queue a record; return False where the queue is full."""
    key, value = record
    try:
        producer.produce(topic, value, key, on_delivery=delivered)
    except BufferError:
        return False
    except KafkaException as error:
        raise enqueue_error(translate(error, f"sending to {topic}", settings)) from error
    return True


@dataclass(slots=True)
class Tally:
    """What became of the records of one bulk.

    Attributes:
        queued: given to the producer.
        delivered: in the log.
        failed: not in the log, as far as is known.
        error: the first failure.
    """

    queued: int = 0
    delivered: int = 0
    failed: int = 0
    error: KafkaError | None = field(default=None)

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Count one delivery report."""
        if error is None:
            self.delivered += 1
        else:
            self.failed += 1
            self.error = self.error or error


class BulkSender:
    """A producer that is filled fast and waited for at the end.

    Records go in one by one. ``produce_batch`` would save 0.6 µs of some 9 per job, but where
    the queue is full it takes later records while it gives back earlier ones, and so breaks the
    order of a key. No reports of successes would save 0.2 µs, and lose the exact count.

    Args:
        settings: of the process.

    Raises:
        SettingsError: librdkafka does not know a property.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = connected_producer(settings)

    def send(self, tally: Tally, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue a record, taking reports on the way; waits while the queue is full.

        The wait ends: librdkafka gives up on a record after ``delivery.timeout.ms``.

        Raises:
            StreamjobsError: it cannot be sent.
        """
        producer = self._producer
        try:
            producer.produce(topic, value, key, on_delivery=tally.report)
        except (BufferError, KafkaException):
            while not _queue(producer, self._settings, topic, (key, value), tally.report):
                producer.poll(_POLL)
        tally.queued += 1
        if tally.queued % _POLL_EVERY == 0:
            producer.poll(0)

    def wait(self, tally: Tally) -> StreamjobsError | None:
        """Wait until every record of a bulk is reported; return the first failure, if any.

        The wait ends: librdkafka gives up on a record after ``delivery.timeout.ms``.
        """
        while tally.delivered + tally.failed < tally.queued:
            self._producer.poll(_POLL / 10)
        if tally.error is None:
            return None
        return enqueue_error(translate(tally.error, "sending jobs", self._settings))

    def close(self, timeout: float) -> int:
        """Wait until everything is reported; return how many records are not."""
        return _flush(self._producer, timeout)


class Producers:
    """The producers of one client, made when first needed, closed once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        self._bulk: BulkSender | None = None
        self._closed = False

    def sender(self) -> Sender:
        """Return the producer for single jobs."""
        with self._lock:
            self._require_open()
            self._sender = self._sender or Sender(self._settings)
            return self._sender

    def bulk(self) -> BulkSender:
        """Return the producer for many."""
        with self._lock:
            self._require_open()
            self._bulk = self._bulk or BulkSender(self._settings)
            return self._bulk

    def _require_open(self) -> None:
        if self._closed:
            raise EnqueueError(
                "the app's client is closed: nothing can be enqueued after close()",
                retriable=False,
            )

    def close(self, timeout: float = CLOSE_TIMEOUT) -> int:
        """Wait for what is under way; return how many records were not acknowledged.

        Does nothing in a child process: these producers' threads are in the parent.
        """
        if os.getpid() != self._pid:
            return 0
        with self._lock:
            self._closed = True
            open_ones = [p for p in (self._sender, self._bulk) if p is not None]
            self._sender = self._bulk = None
        return sum(producer.close(timeout) for producer in open_ones)
