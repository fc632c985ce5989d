"""Producing and committing as one: what the worker's commit cycle needs of Kafka."""

from __future__ import annotations

import logging
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.failpoints import hit
from streamjobs.kafka.bounded import returns_within
from streamjobs.kafka.config import DELIVERY_TIMEOUT_MS, transactional_extra
from streamjobs.kafka.delivery import Delivering
from streamjobs.kafka.failures import REMOVED, kafka_error
from streamjobs.kafka.outcome import CycleFailed, Written
from streamjobs.kafka.rights import refused_id, refused_topics
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

# librdkafka (2.16, its issues 5456 and 5511) lets sending offsets wait for ever, whatever its
# timeout, when the group's coordinator has left the cluster: it looks for the next one only when
# some connection of the client changes its state. An idle one that is closed does, which mostly
# helps; where it was the only one, the question is put off each time it opens and closes. So there
# is an end to waiting: seconds that the call is given, and that it may overdraw.
IDLE_MS = 5_000
OFFSETS_TIMEOUT, OFFSETS_GRACE = 5.0, 1.0
# Seconds that a new producer waits for its id. Nothing is open then: the loop does other things,
# and can be stopped, before it asks again.
BEGIN_PATIENCE = 2.0
# No client call of the loop takes longer; what is not done then is asked again.
CALL_TIMEOUT = 1.0
# Seconds that the end of an aborted transaction is waited for. Where its mark cannot be written,
# for want of replicas, that would be for ever; with another id one can go on, and what was aborted
# stays so.
ABORT_PATIENCE = 5.0
# Seconds that a commit is asked for, before another client of the same id asks what it came to. A
# coordinator is replaced sooner; a client of librdkafka (2.16) that has lost sight of it may never
# find it: "TxnCoordinator: Timed out 1 out-queue", with all brokers up, for minutes in a campaign.
COMMIT_PATIENCE = 10.0
# Seconds that another client has to find the coordinator, before yet another is asked.
RENEWAL_PATIENCE = 5.0
# Seconds between questions what a transaction came to, and between warnings that nobody answers.
ASK_AGAIN, SAY_AGAIN = 0.1, 15.0


class TransactionalProducer(Delivering):
    """One cycle is one transaction: records and offsets, all or nothing (KIP-447).

    Args:
        settings: of the process.
        prefix: of the transactional id; the rest is random, so that nobody is fenced by chance.
        fixed: the whole id, where fencing is the point.
    """

    def __init__(self, settings: Settings, prefix: str = "", *, fixed: str | None = None) -> None:
        self.transactional_id = fixed or f"{prefix}.{secrets.token_hex(8)}"
        super().__init__(
            settings,
            **transactional_extra(settings, self.transactional_id),
            connections_max_idle_ms=IDLE_MS,
        )
        self._ready = False
        self._unready_since: float | None = None

    def send(
        self,
        records: Sequence[Written],
        offsets: list[TopicPartition],
        group: Any,
        was_committed: Callable[[], bool | None],
    ) -> None:
        """Write the records and commit the offsets in one transaction.

        Args:
            records: what to write.
            offsets: what to commit of the group, with what stands beside them.
            group: its metadata, which fences.
            was_committed: asks whether these are the group's offsets, where no answer says what the
                transaction came to; None: not known yet.

        Raises:
            CycleFailed: it was aborted, or the producer is used up.
        """
        try:
            self._begin(BEGIN_PATIENCE)
        except KafkaException as error:
            raise self._not_begun(error, records) from error
        try:
            hit("txn.begun")
            self._produce(records)
            hit("txn.produced")
            # Flushed first: while partitions are still being added this call blocks up to 65 ms.
            self._send_offsets(offsets, group, OFFSETS_TIMEOUT)
            hit("txn.offsets-sent")
        except CycleFailed as failed:
            if failed.stuck:
                raise
            if (cause := self._cause(failed, offsets, group)) is not None:
                raise self._give_up(cause, records) from failed
            raise self._abort(failed.refused) or failed from failed
        except KafkaException as error:
            raise self._give_up(error, records) from error
        self._commit_or_find_out(records, was_committed)
        hit("txn.committed")

    def close(self) -> None:
        """Nothing is open between cycles; the client goes with its last reference."""

    def _cause(
        self, failed: CycleFailed, offsets: list[TopicPartition], group: Any
    ) -> KafkaException | None:
        """Why records were thrown away: only the next call of a failed transaction tells it."""
        if failed.refused or not (self._purged or failed.fatal):
            return None
        try:
            # One that commits nothing by itself: where nothing is told, it is aborted all the same.
            self._send_offsets(offsets, group, CALL_TIMEOUT)
        except KafkaException as error:
            return error
        return None

    def _begin(self, patience: float = math.inf) -> None:
        if not self._ready:
            if self._unready_since is None:
                self._unready_since = monotonic()
            self._until_done(self._producer.init_transactions, patience)
            self._ready, self._unready_since = True, None
        self._producer.begin_transaction()

    def _not_begun(self, error: KafkaException, records: Sequence[Written]) -> CycleFailed:
        """Why there is no transaction yet: there may be one the next time, or never."""
        inner = kafka_error(error)
        if inner.retriable() and not inner.fatal() and not inner.txn_requires_abort():
            since = self._unready_since
            if since is not None and monotonic() - since > COMMIT_PATIENCE:
                self._replace_client()  # it may have lost sight of the coordinator
            return CycleFailed(f"not begun: {inner.str()}")
        return self._give_up(error, records)

    def _send_offsets(self, offsets: list[TopicPartition], group: Any, timeout: float) -> None:
        """Send them in a thread of its own, which is left behind where the client is stuck.

        Raises:
            CycleFailed: it is; no other call of this client would return either.
            KafkaException: the client or a broker says why not.
        """
        send = self._producer.send_offsets_to_transaction
        if not returns_within(timeout + OFFSETS_GRACE, lambda: send(offsets, group, timeout)):
            raise CycleFailed(
                f"the client has not sent the offsets within {timeout + OFFSETS_GRACE:g} s, and is "
                "given up: has the group's coordinator moved?",
                fatal=True,
                stuck=True,
            )

    def _commit(self, patience: float = math.inf) -> None:
        self._until_done(self._producer.commit_transaction, patience)

    def _commit_or_find_out(
        self, records: Sequence[Written], was_committed: Callable[[], bool | None]
    ) -> None:
        try:
            self._commit(COMMIT_PATIENCE)
        except KafkaException as error:
            failed = kafka_error(error)
        else:
            return
        # Out here, where no traceback holds on to the client.
        self._find_out(failed, records, was_committed)

    def _find_out(
        self,
        error: KafkaError,
        records: Sequence[Written],
        was_committed: Callable[[], bool | None],
    ) -> None:
        """Return where a commit that failed was made all the same, and raise where it was not.

        No error tells: the coordinator may have made it before it died, and what the client says
        then is about the next connection, or what it came to there ("requires abort" too). Whoever
        initialises a transactional id ends its transaction, the way it was to end if a coordinator
        knows of that; the group's offsets, once stable, tell which way it was. A client that was
        fenced has had that done by somebody else.

        Raises:
            CycleFailed: it was not.
        """
        last = error
        if not error.fatal():
            self._ready = False
            logger.warning(
                "transaction %s: its commit has failed (%s): another client of its id ends it, and "
                "the group's offsets tell what it came to",
                self.transactional_id,
                error.str(),
            )
        pause, say_at = threading.Event(), monotonic() + SAY_AGAIN
        while True:
            if not (self._ready or last.fatal()):
                last = self._renew() or last
            if (committed := was_committed()) is not None:
                break
            if monotonic() > say_at:
                say_at = monotonic() + SAY_AGAIN
                logger.warning(
                    "transaction %s: it is not known yet what it came to: does the coordinator of "
                    "the group answer, and may it be read? Nothing else is committed until then",
                    self.transactional_id,
                )
            pause.wait(ASK_AGAIN)
        if not committed:
            what = "the producer is used up" if last.fatal() else "not committed"
            raise CycleFailed(
                f"{what}: {last.str()}",
                fatal=last.fatal(),
                gone=error.code() in REMOVED,
                refused=self._denied(error, records),
            )

    def _renew(self) -> KafkaError | None:
        """Go on with another client of the same id; return what it says where it cannot yet."""
        self._replace_client()
        try:
            self._until_done(self._producer.init_transactions, RENEWAL_PATIENCE)
        except KafkaException as error:
            return kafka_error(error)
        self._ready, self._unready_since = True, None
        return None

    def _replace_client(self) -> None:
        before, self._ready, self._unready_since = [self._producer], False, None
        self._producer = self._new_client()
        returns_within(CALL_TIMEOUT, before.clear)  # it may wait for threads of its own

    def _until_done(self, call: Any, patience: float = math.inf) -> None:
        """Ask again while the answer is that it takes longer: never abort what may be committed."""
        began = monotonic()
        while True:
            try:
                call(CALL_TIMEOUT)
            except KafkaException as error:
                inner = kafka_error(error)
                seconds = monotonic() - began
                if inner.fatal() or inner.txn_requires_abort() or not inner.retriable():
                    raise
                if seconds > patience:
                    raise
                self._takes_longer(error, seconds)
            else:
                return

    def _takes_longer(self, error: KafkaException, seconds: float) -> None:
        """A call has no answer after so many seconds; who has no patience left raises."""
        told = kafka_error(error).str()
        logger.info("transaction %s: %s, %.0f s", self.transactional_id, told, seconds)

    def _give_up(self, error: KafkaException, records: Sequence[Written] = ()) -> CycleFailed:
        inner = kafka_error(error)
        refused = self._denied(inner, records)
        if inner.fatal():
            told = f"the producer is used up: {inner.str()}"
            return CycleFailed(told, fatal=True, refused=refused)
        gone, told = inner.code() in REMOVED, f"aborted: {inner.str()}"
        return self._abort(refused) or CycleFailed(told, gone=gone, refused=refused)

    def _denied(self, error: KafkaError, records: Sequence[Written]) -> dict[tuple[str, int], str]:
        """Which records may not be written, for want of a right, and what grants it."""
        topics = {record.topic for record in records}
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            denied = dict.fromkeys(topics, refused_id(self.transactional_id))
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            denied = refused_topics(self._settings, topics)
        else:
            return {}
        return {(r.topic, r.partition): denied[r.topic] for r in records if r.topic in denied}

    def _abort(self, refused: Mapping[tuple[str, int], str] | None = None) -> CycleFailed | None:
        try:
            self._until_done(self._producer.abort_transaction, ABORT_PATIENCE)
            hit("txn.aborted")
        except KafkaException as error:
            inner = kafka_error(error)
            what = "the producer is used up" if inner.fatal() else "not to be aborted"
            return CycleFailed(f"{what}: {inner.str()}", fatal=True, refused=refused)
        return None


class IdempotentProducer(Delivering):
    """For brokers without transactions: records first, offsets after; a crash between repeats."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, delivery_timeout_ms=DELIVERY_TIMEOUT_MS)

    def send(self, records: Sequence[Written]) -> None:
        """Write the records and see them acknowledged.

        Raises:
            CycleFailed: some were not, and some may be there.
        """
        try:
            self._produce(records)
        except KafkaException as error:
            inner = kafka_error(error)
            raise CycleFailed(f"not delivered: {inner.str()}", fatal=inner.fatal()) from error

    def close(self) -> None:
        """Nothing is open between cycles; the client goes with its last reference."""
