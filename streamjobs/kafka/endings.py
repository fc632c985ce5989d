"""Ends transactions that dead owners have left open."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable

from confluent_kafka import KafkaException, Producer

from streamjobs.clock import monotonic
from streamjobs.kafka.config import producer_config, transactional_extra
from streamjobs.kafka.failures import kafka_error
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

# Seconds that one try to end a transaction may take, and connecting before that.
END_TIMEOUT, CONNECT_TIMEOUT = 10.0, 0.5
# Seconds after which it is left to expire, as it has by then, and between tries.
END_PATIENCE, END_AGAIN = 30.0, 0.1


class Endings:
    """The transactions that are being ended; used by one thread.

    Whoever initialises a transactional id ends its transaction. The broker has done so long before
    the client's call returns, half a second later: so each is ended in a thread of its own, and
    what waits for it is asked again meanwhile.

    Args:
        settings: of the process.
        group: for the log.
    """

    def __init__(self, settings: Settings, group: str) -> None:
        self._settings, self._group = settings, group
        self._under_way: set[str] = set()

    def begin(self, number: int, ids: Iterable[str]) -> None:
        """End the transactions of these ids, which hold up that partition; does not wait."""
        for name in sorted(set(ids) - self._under_way):
            logger.warning(
                "group %s: partition %d is held up by a transaction that %s has left open; it is "
                "ended",
                self._group,
                number,
                name,
            )
            self._under_way.add(name)
            threading.Thread(
                target=self._end, args=(name,), name=f"ending-{name}", daemon=True
            ).start()

    def _end(self, name: str) -> None:
        extra = transactional_extra(self._settings, name)
        try:
            producer = Producer(producer_config(self._settings, **extra))
            # Without a connection the first try is in vain, and the next half a second later.
            with contextlib.suppress(KafkaException):
                producer.list_topics(timeout=CONNECT_TIMEOUT)
            self._initialise(producer)
        except KafkaException as error:
            logger.warning(
                "group %s: the transaction of %s cannot be ended (%s); it expires by itself",
                self._group,
                name,
                kafka_error(error).str(),
            )
        finally:
            self._under_way.discard(name)

    def _initialise(self, producer: Producer) -> None:
        """Ask as long as it may help: the coordinator may have died with the worker."""
        deadline = monotonic() + END_PATIENCE
        while True:
            try:
                producer.init_transactions(END_TIMEOUT)
            except KafkaException as error:
                if not kafka_error(error).retriable() or monotonic() > deadline:
                    raise
                threading.Event().wait(END_AGAIN)  # it may have said so at once
            else:
                return
