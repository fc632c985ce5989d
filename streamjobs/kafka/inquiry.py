"""Asks the broker where a shard stands, beside the loop: its questions may take seconds.

A dead owner's open transaction makes offsets unstable, or hides the end of a tier, until it
expires: up to the transaction timeout and the 10 s between the broker's checks. Its transactional
id stands beside the committed offset, so that it can be ended by it: see ``endings``.
"""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.
# ruff: noqa: SLF001

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streamjobs.clock import monotonic
from streamjobs.kafka.config import consumer_config
from streamjobs.kafka.endings import Endings
from streamjobs.kafka.failures import NO_TOPIC, kafka_error
from streamjobs.kafka.members import members_of
from streamjobs.kafka.standing import Ends, Partition, Stand, Stands
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

# Seconds that one call may take; what is not answered then is asked again.
CALL_TIMEOUT = 0.5
# The first times it is asked for stable offsets: the client answers nothing while they are not
# stable, and a broker that is well answers within milliseconds.
QUICK_TIMEOUT, QUICK_TRIES = 0.15, 2
# Seconds that offsets or the end of a tier may be unstable before an owner's transaction is ended
# that is not known to be gone: a living one's takes some 10 ms, and who is fenced by mistake only
# needs a new id.
PATIENCE = 0.4
# Seconds between looks at what was not stable.
AGAIN = 0.1
# Failures in a row after which a client is replaced.
FAILURES = 10
# Seconds after which a group that does not tell its members is not asked again.
MEMBERS_PATIENCE = 5.0


@dataclass
class _Question:
    """What is asked of a shard, and since when in vain.

    Attributes:
        token: handed back with the answer, so that the asker can tell an old one.
        ids: transactional ids of owners before.
        ends: high watermarks by topic, as they were told.
        ended: whose transactions were ended for it.
        all_ended: whether those of all owners before were.
        gone: whether the owners before are known to be gone.
        tries: how often its stable offsets were asked for.
        of: how far its partitions are, once that is stable.
        tried: processes that tried a job alone.
    """

    number: int
    token: object
    partitions: Sequence[Partition]
    since: float
    ids: tuple[str, ...] = ()
    ends: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    all_ended: bool = False
    gone: bool = False
    tries: int = 0
    of: dict[str, Stand] = field(default_factory=dict)
    tried: frozenset[str] = frozenset()


class Inquiry:
    """A thread with clients of its own, which are members of nothing.

    Args:
        settings: of the process.
        group: whose offsets.
        read_id: reads the transactional id out of the text beside an offset; None: it has none.
        read_tried: reads which process tried a job alone; None: none did.
        is_gone: whether the owner that wrote a text is gone: what it left open is ended at once.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        read_id: Callable[[str], str | None],
        read_tried: Callable[[str], str | None] = lambda _: None,
        is_gone: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._settings, self._group = settings, group
        self._read_id, self._read_tried, self._is_gone = read_id, read_tried, is_gone
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._answers: deque[Stands | Ends] = deque()
        self._unstable: list[_Question] = []
        self._hidden: list[_Question] = []
        self._alive: list[_Question] = []
        self._stopping = False
        self._error: Exception | None = None
        self._endless: list[_Question] = []
        self._in_a_row = 0
        self._held_up: set[int] = set()
        self._endings = Endings(settings, group)
        self._committed, self._uncommitted = self._clients()
        self._thread = threading.Thread(target=self._run, name=f"inquiry-{group}", daemon=True)
        self._thread.start()

    # -- called by the loop ------------------------------------------------------------------

    def stands(self, shards: Mapping[int, tuple[object, Sequence[Partition]]]) -> None:
        """Ask for the stable committed offsets of shards, each with a token for its answer."""
        questions = [
            _Question(number, token, partitions, monotonic())
            for number, (token, partitions) in shards.items()
        ]
        self._asked.put(lambda: self._ask_stands(questions))

    def ends(
        self,
        number: int,
        token: object,
        partitions: Sequence[Partition],
        ids: Sequence[str],
        *,
        gone: bool = False,
    ) -> None:
        """Ask for the high watermarks of a shard's partitions.

        Args:
            number: which shard.
            token: comes back with the answer.
            partitions: of the shard.
            ids: transactional ids of owners before; when an end stays hidden from readers of
                committed records, their transactions are ended.
            gone: whether they are known to be gone: then at once.
        """
        question = _Question(number, token, partitions, monotonic(), tuple(ids), gone=gone)
        self._asked.put(lambda: self._ask_ends(question))

    def forget(self, numbers: Collection[int]) -> None:
        """Ask no more of what was asked of these shards: they are somebody else's.

        Whose transaction would hold them up is no matter of ours: it may be that of one who lives.
        """
        self._asked.put(lambda: self._drop(frozenset(numbers)))

    @property
    def held_up(self) -> bool:
        """Whether a shard waits for the end of what a dead owner has left open."""
        return bool(self._held_up)

    def answers(self) -> list[Stands | Ends]:
        """Return the answers that have come since the last call.

        Raises:
            Exception: what ended the thread; there would be no more answers.
        """
        if self._error is not None:
            raise self._error
        return [self._answers.popleft() for _ in range(len(self._answers))]

    def close(self) -> None:
        """Ask nothing more; does not wait for a question under way."""
        self._stopping = True
        self._asked.put(None)

    def _clients(self) -> tuple[Consumer, Consumer]:
        settings, group = self._settings, self._group
        uncommitted = consumer_config(settings, group, isolation_level="read_uncommitted")
        return Consumer(consumer_config(settings, group)), Consumer(uncommitted)

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                waiting = self._unstable or self._hidden or self._endless or self._alive
                try:
                    act = self._asked.get(timeout=AGAIN if waiting else None)
                except Empty:
                    self._look_again()
                    continue
                if act is not None:
                    act()
        except Exception as error:  # noqa: BLE001 - told by ``answers``
            self._error = error
        finally:
            self._committed.close()
            self._uncommitted.close()

    def _look_again(self) -> None:
        unstable, self._unstable = self._unstable, []
        for question in unstable:
            self._ask_stands([question])
        hidden, self._hidden = self._hidden, []
        for question in hidden:
            self._watch(question)
        endless, self._endless = self._endless, []
        for question in endless:
            self._ask_ends(question)
        alive, self._alive = self._alive, []
        for question in alive:
            self._ask_members(question)

    def _drop(self, numbers: Collection[int]) -> None:
        for waiting in (self._unstable, self._hidden, self._endless, self._alive):
            waiting[:] = [question for question in waiting if question.number not in numbers]
        self._held_up.difference_update(numbers)

    def _ask_stands(self, questions: list[_Question]) -> None:
        """All in one call; when one shard is not stable, each by itself."""
        asked = [TopicPartition(*p) for q in questions for p in q.partitions]
        quick = min(q.tries for q in questions) < QUICK_TRIES
        for question in questions:
            question.tries += 1
        try:
            timeout = QUICK_TIMEOUT if quick else CALL_TIMEOUT
            found = self._committed.committed(asked, timeout=timeout)
            stands = [(at, self._stand(at)) for at in found]
        except KafkaException as error:
            self._end_transactions(questions)
            if len(questions) > 1:
                for question in questions:
                    self._ask_stands([question])
            else:
                self._in_vain(questions[0], error)
            return
        self._in_a_row = 0
        by_number: dict[int, dict[str, Stand]] = {}
        for at, stand in stands:
            by_number.setdefault(at.partition, {})[at.topic] = stand
        for question in questions:
            self._held_up.discard(question.number)
            question.of = by_number.get(question.number, {})
            texts = [stand.text for stand in question.of.values() if stand.text]
            question.tried = frozenset(p for t in texts if (p := self._read_tried(t)) is not None)
            if question.tried:
                question.since = monotonic()
                self._ask_members(question)
            else:
                self._answers.append(Stands(question.number, question.token, question.of))

    def _ask_members(self, question: _Question) -> None:
        """Ask which of the processes that tried a job alone live: who is in the group does.

        Where the broker does not tell, none is: else a job that ends its workers would be tried
        for ever.
        """
        clients = members_of(self._settings, self._group, CALL_TIMEOUT)
        if clients is None and monotonic() - question.since < MEMBERS_PATIENCE:
            self._alive.append(question)
            return
        members = frozenset(p for p in question.tried if any(p in x for x in clients or ()))
        self._answers.append(Stands(question.number, question.token, question.of, members))

    def _stand(self, at: TopicPartition) -> Stand:
        if at.error is not None:
            raise KafkaException(at.error)  # which is not that nothing was committed
        if at.offset != OFFSET_INVALID:
            return Stand(at.offset, at.metadata)
        return Stand(None, None, self._marks(self._uncommitted, (at.topic, at.partition))[0])

    def _in_vain(self, question: _Question, error: KafkaException) -> None:
        logger.info(
            "group %s: no stable offsets of partition %d yet: %s",
            self._group,
            question.number,
            kafka_error(error).str(),
        )
        self._unstable.append(question)
        if kafka_error(error).code() in NO_TOPIC:
            self._renew_clients()

    def _end_transactions(self, questions: Sequence[_Question]) -> None:
        """End what was left open by the owners that are told beside the offsets.

        The text is the one from before the open transaction. Of owners that are not known to be
        gone after some patience only.
        """
        waiting = [question for question in questions if not question.all_ended]
        asked = [TopicPartition(*pair) for q in waiting for pair in q.partitions]
        try:
            found = self._uncommitted.committed(asked, timeout=CALL_TIMEOUT) if asked else []
        except KafkaException:
            return
        begun: set[str] = set()
        for question in waiting:
            question.all_ended = monotonic() - question.since > PATIENCE
            texts = [at.metadata for at in found if at.partition == question.number and at.metadata]
            ids = [
                name
                for text in texts
                if (question.all_ended or self._is_gone(text)) and (name := self._read_id(text))
            ]
            if new := set(ids) - question.ended:
                question.ended |= new
                self._held_up.add(question.number)
                self._endings.begin(question.number, new - begun)
                begun |= new

    def _ask_ends(self, question: _Question) -> None:
        try:
            for pair in question.partitions:
                question.ends[pair[0]] = self._marks(self._uncommitted, pair)[1]
        except KafkaException as error:
            logger.info(
                "group %s: no ends of partition %d yet: %s",
                self._group,
                question.number,
                kafka_error(error).str(),
            )
            self._endless.append(question)
            self._renew_clients()
            return
        self._in_a_row = 0
        self._answers.append(Ends(question.number, question.token, dict(question.ends)))
        if question.ids:
            self._watch(question)

    def _renew_clients(self) -> None:
        """After some failures in a row ask with new clients.

        A client that has seen a broker die may go on to say "unknown partition" of partitions that
        another leads by now (librdkafka 2.16).
        """
        self._in_a_row += 1
        if self._in_a_row % FAILURES == 0:
            self._committed.close()
            self._uncommitted.close()
            self._committed, self._uncommitted = self._clients()

    def _watch(self, question: _Question) -> None:
        """See that readers of committed records get to the ends: a transaction may be open."""
        try:
            hidden = any(
                self._marks(self._committed, pair)[1] < question.ends[pair[0]]
                for pair in question.partitions
            )
        except KafkaException:
            hidden = True
        if not hidden:
            return
        if question.gone or monotonic() - question.since > PATIENCE:
            self._endings.begin(question.number, question.ids)
        else:
            self._hidden.append(question)

    def _marks(self, consumer: Consumer, pair: Partition) -> tuple[int, int]:
        marks = consumer.get_watermark_offsets(TopicPartition(*pair), timeout=CALL_TIMEOUT)
        if marks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        low, high = marks
        return low, high
