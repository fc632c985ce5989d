"""A producer of which there is one at a time: a second one of its id fences the first."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka.cycle import TransactionalProducer
from streamjobs.kafka.failures import kafka_error, translate
from streamjobs.kafka.outcome import CycleFailed, Written
from streamjobs.settings import Settings

# A command does not wait for a broker for ever, as a worker does.
PATIENCE = 30.0


class SoleProducer(TransactionalProducer):
    """Writes records in transactions under a transactional id that is always the same.

    Args:
        settings: of the process.
        transactional_id: whose holders fence each other.
    """

    def __init__(self, settings: Settings, transactional_id: str) -> None:
        super().__init__(settings, fixed=transactional_id)
        self._settings = settings

    def take_over(self) -> None:
        """Fence whoever had the id, and end its transaction: after this it changes nothing more.

        Raises:
            BrokerUnavailable: no answer.
            AuthenticationError: the broker does not let us use the id.
        """
        try:
            self._until_done(self._producer.init_transactions)
        except KafkaException as error:
            doing = f"taking over transactional id {self.transactional_id}"
            raise translate(error, doing, self._settings) from error
        self._ready = True

    def write(self, records: Sequence[Written]) -> None:
        """Write the records, all or none.

        What was aborted is tried a second time: behind a record that the broker refused, librdkafka
        (2.16) purges the next one, whose sequence number it finds skipped.

        Raises:
            CycleFailed: none is there; when ``fatal``, somebody has taken over.
            BrokerUnavailable: no answer to the commit, so that all may be there, or none.
        """
        try:
            self._write(records)
        except CycleFailed as first:
            if first.fatal:
                raise
            try:
                self._write(records)
            except CycleFailed as second:
                raise (second if second.fatal else first) from second

    def _write(self, records: Sequence[Written]) -> None:
        try:
            self._begin()
            self._produce(records)
        except CycleFailed as failed:
            raise self._abort() or failed from failed
        except KafkaException as error:
            raise self._give_up(error) from error
        try:
            self._commit()
        except KafkaException as error:
            if kafka_error(error).fatal():
                raise self._give_up(error) from error
            # It may have been made, whatever the client says: not to be tried a second time.
            told = translate(error, f"transaction {self.transactional_id}", self._settings)
            raise BrokerUnavailable(str(told)) from error

    def _takes_longer(self, error: KafkaException, seconds: float) -> None:
        if seconds > PATIENCE:
            told = translate(error, f"transaction {self.transactional_id}", self._settings)
            raise BrokerUnavailable(str(told)) from error
