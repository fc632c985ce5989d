"""Ends transactions that dead owners have left open."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable

from confluent_kafka import KafkaException, Producer

from streamjobs.kafka.config import producer_config
from streamjobs.kafka.failures import kafka_error
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

# Seconds that ending one transaction may take, and connecting before that.
END_TIMEOUT, CONNECT_TIMEOUT = 10.0, 0.5


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
                "group %s: partition %d is held up by an open transaction of %s, whose worker is "
                "gone; it is ended",
                self._group,
                number,
                name,
            )
            self._under_way.add(name)
            threading.Thread(
                target=self._end, args=(name,), name=f"ending-{name}", daemon=True
            ).start()

    def _end(self, name: str) -> None:
        try:
            producer = Producer(producer_config(self._settings, transactional_id=name))
            # Without a connection the first try is in vain, and the next half a second later.
            with contextlib.suppress(KafkaException):
                producer.list_topics(timeout=CONNECT_TIMEOUT)
            producer.init_transactions(END_TIMEOUT)
        except KafkaException as error:
            logger.warning(
                "group %s: the transaction of %s cannot be ended (%s); it expires by itself",
                self._group,
                name,
                kafka_error(error).str(),
            )
        finally:
            self._under_way.discard(name)
