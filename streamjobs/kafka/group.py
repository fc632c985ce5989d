"""The consumer of one queue's group, owned by one loop thread; the choke point of every commit."""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.
# ruff: noqa: SLF001

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streamjobs.kafka.aside import BATCH, NEVER_ELSEWHERE, AsideReader, Polled, Stray
from streamjobs.kafka.config import consumer_config, silent
from streamjobs.kafka.failures import NO_TOPIC, REMOVED, kafka_error, missing, translate
from streamjobs.kafka.members import client_id
from streamjobs.kafka.membership import (
    CommitRefused,
    GroupDenied,
    GroupForgotten,
    InstanceIdTaken,
    NotAMember,
)
from streamjobs.kafka.rights import GROUP_DENIED, is_denial
from streamjobs.kafka.stable import Stable, stable_offsets
from streamjobs.settings import Settings

logger = logging.getLogger("streamjobs.kafka")

Partition = tuple[str, int]
# Seconds the loop may wait for an answer about a shard; other shards wait with it.
STABLE_TIMEOUT = 0.5
# What is said of a name that another member has. A fatal error comes under a code of its own, and
# what it is about only as text (librdkafka 2.16 has no call for it in Python).
_FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
_UNRELEASED = KafkaError(KafkaError.UNRELEASED_INSTANCE_ID).str()
_NO_GROUP = KafkaError(KafkaError.GROUP_ID_NOT_FOUND).str()
# The same of a partition of which nothing was ever committed.
_NO_OFFSET = KafkaError(KafkaError._NO_OFFSET).str()
# And of a log that has another leader by now, without the end of what was read of it (KIP-320).
_CUT_OFF = KafkaError(KafkaError._LOG_TRUNCATION).str()
_CUT_AT = re.compile(r"broker end offset is (\d+)")


class GroupConsumer:
    """A member of a queue's consumer group.

    The callbacks run inside ``poll`` and ``close``, in the caller's thread. ``on_revoked`` is
    called while the partitions are still owned, so it may commit; after ``on_lost`` they are
    somebody else's.

    Args:
        settings: of the process.
        group: the group's id.
        topics: what to subscribe to: main and every tier that exists.
        protocol: ``classic`` or ``consumer``.
        process: what tells this process from others among the group's members; None: nothing.
        on_denied: called when the brokers deny us a right, by ``poll`` too.

    Attributes:
        group: the group's id.
        missing: subscribed topics that the broker does not have, and what it said.
        given: the partitions that the client has handed over; may be read by any thread.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Iterable[str],
        *,
        protocol: str,
        process: str | None = None,
        on_assigned: Callable[[list[Partition]], None],
        on_revoked: Callable[[list[Partition]], None],
        on_lost: Callable[[list[Partition]], None],
        on_denied: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self.group, self._topics = settings, group, list(topics)
        self._committing: Callable[[KafkaError | None], None] | None = None
        self._on_assigned, self._on_denied = on_assigned, on_denied
        self.given: frozenset[Partition] = frozenset()
        self._assigned: list[Partition] = []
        self._unset: list[Partition] = []
        self._placed: dict[Partition, int] = {}
        self._protocol = protocol
        self.missing: dict[str, str] = {}
        name = settings.group_instance_id
        static = {} if name is None else {"group_instance_id": name}
        named = {} if process is None else {"client_id": client_id(settings, process)}
        config = consumer_config(
            settings,
            group,
            group_protocol=protocol,
            on_commit=self._on_commit,
            **static,
            **named,
            **NEVER_ELSEWHERE,
        )
        self._consumer = Consumer(config)
        # Reads high watermarks; a member of nothing. What is wrong is told by its calls: nobody
        # polls it, so its log would come when it closes, all at once.
        aside = {"isolation_level": "read_uncommitted", "logger": silent}
        self._ends = Consumer(consumer_config(settings, group, **aside))
        self._consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=lambda _, partitions: self._taken_away(on_revoked, _pairs(partitions)),
            on_lost=lambda _, partitions: self._taken_away(on_lost, _pairs(partitions)),
        )

    def poll(self, timeout: float) -> Polled:
        """Wait for a first record, then take what is there: ``consume`` alone waits for all.

        ``consume(n, t)`` returns when n records came or t is over: with 0.1 s its median latency
        is 54 ms, against 1.5 ms this way.

        Raises:
            InstanceIdTaken: another process has our name in the group.
            GroupDenied: we may not be in the group (a classic consumer tries on by itself).
            StreamjobsError: another error that polling again does not mend.
        """
        first = self._consumer.poll(timeout)
        batch: list[Message] = []
        if first is not None:
            before = len(self._assigned)
            more = self._consumer.consume(BATCH, 0)
            anew = (first.topic(), first.partition()) in self._assigned[before:]
            # It is of the assignment before: of the new one it comes again, behind others.
            batch = more if anew else [first, *more]
        if self._assigned:
            # The client remembers that a partition was paused when it was taken away (librdkafka
            # 2.16): nothing would ever be fetched of it.
            self.resume(self._assigned)
            self._assigned = []
        messages = [message for message in batch if message.error() is None]
        polled = Polled(messages)
        if self.missing:
            for message in messages:
                self.missing.pop(message.topic() or "", None)
        if len(messages) < len(batch):
            for message in batch:
                if (error := message.error()) is not None:
                    self._event(message, error, polled)
            if self._unset:
                self._assign_again(dict.fromkeys(self._unset, OFFSET_BEGINNING))
                self._unset = []
        return polled

    def topics(self) -> set[str] | None:
        """Ask which topics the broker has; None when it does not answer in time."""
        try:
            return set(self._ends.list_topics(timeout=STABLE_TIMEOUT).topics)
        except KafkaException as error:
            logger.info("group %s: no list of topics yet: %s", self.group, error.args[0].str())
            return None

    def absent(self, topics: Collection[str]) -> set[str]:
        """Return those of these topics that the broker says it does not have.

        A list leaves out what we have no right to see; asked by name, the broker says why.
        """
        listed = self.topics()
        return set() if listed is None else missing(self._ends, {*topics} - listed, STABLE_TIMEOUT)

    def aside(self, positions: Mapping[Partition, int]) -> AsideReader | None:
        """Read these from there on while this consumer hands nothing over: in its callbacks.

        Returns:
            The reader, to be closed; None when there is nothing to read.
        """
        return AsideReader(self._settings, self.group, positions) if positions else None

    def marks(self, partition: Partition) -> tuple[int, int] | None:
        """Ask for the first offset of a log and the next to be written; None: no answer yet."""
        try:
            return self._ends.get_watermark_offsets(
                TopicPartition(*partition), timeout=STABLE_TIMEOUT
            )
        except KafkaException as error:
            told = kafka_error(error).str()
            logger.info("group %s: no ends of %s[%d] yet: %s", self.group, *partition, told)
            return None

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch no more of these until resumed; throws away what was prefetched of them."""
        self._each(self._consumer.pause, partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Fetch these again."""
        self._each(self._consumer.resume, partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``, if the partition is ours still."""
        there = TopicPartition(*partition, offset)
        try:
            self._each(lambda _: self._consumer.seek(there), [partition])
        except KafkaException as error:
            if kafka_error(error).code() != KafkaError._STATE:
                raise
            self._assign_again({partition: offset})

    def offsets(self, offsets: Mapping[Partition, tuple[int, str]]) -> list[TopicPartition]:
        """Build what a commit may contain: the one place where commits are made of offsets.

        Kafka checks member and generation and never ownership, takes commits of consumers that
        are in no group, and fences nobody by an empty list. So: intersected with the assignment,
        refused without a member id, and the caller sends nothing when nothing is left.

        Args:
            offsets: by partition, with the text that stands beside each.

        Raises:
            NotAMember: there is no member id.
        """
        if not self._consumer.memberid():
            raise NotAMember(f"group {self.group}: not a member at present; nothing is committed")
        # Our own record: as it leaves, the client may not be asked for its assignment any more, and
        # raises something that is no exception (confluent-kafka 2.16).
        return [
            TopicPartition(*pair, offset, metadata=text)
            for pair, (offset, text) in offsets.items()
            if pair in self.given
        ]

    def begin_commit(
        self, offsets: list[TopicPartition], done: Callable[[KafkaError | None], None]
    ) -> None:
        """Commit without waiting; ``done`` is called inside a later ``poll`` or ``close``.

        One at a time: a second is not begun before the first is done.
        """
        self._committing = done
        self._consumer.commit(offsets=offsets, asynchronous=True)

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit and wait for the broker's word.

        Raises:
            CommitRefused: the broker refused it, or did not answer.
        """
        try:
            results = self._consumer.commit(offsets=offsets, asynchronous=False) or ()
        except KafkaException as error:
            inner = kafka_error(error)
            raise CommitRefused(inner.str(), gone=inner.code() in REMOVED) from error
        for done in results:
            if done.error is not None:
                what = f"{done.topic}[{done.partition}]: {done.error.str()}"
                raise CommitRefused(what, gone=done.error.code() in REMOVED)

    def committed(self, partitions: Collection[Partition], timeout: float) -> Stable | None:
        """Ask for the group's stable offsets of these; see ``stable_offsets``."""
        return stable_offsets(self._settings, self.group, partitions, timeout)

    def coordinated(self, timeout: float) -> bool:
        """Whether the group's coordinator answers within so many seconds.

        A commit that is waited for has no time of its own: without a coordinator it takes as long
        as a session (librdkafka's rd_kafka_cgrp_defer_offset_commit), 45 s under KIP-848.
        """
        try:
            self._ends.committed([TopicPartition(self._topics[0], 0)], timeout=timeout)
        except KafkaException as error:
            told = kafka_error(error).str()
            logger.debug("group %s: no answer from its coordinator: %s", self.group, told)
            return False
        return True

    @property
    def metadata(self) -> Any:
        """The group metadata that fences a transaction; to be read anew for each."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Leave the group; ``on_revoked`` is called for what is still owned."""
        self._consumer.close()
        self._ends.close()

    def abandon(self) -> None:
        """Go without a word: the group's coordinator is away, and would be waited for.

        No callback is called; the group does without this member once its session has ended. The
        client is never freed, since that waits as well: for its commits, and to leave.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._consumer))

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self.missing.pop(partition.topic, None)
            self._placed.pop((partition.topic, partition.partition), None)
        self._assigned += _pairs(partitions)
        self.given = self.given.union(_pairs(partitions))
        self._on_assigned(_pairs(partitions))

    def _taken_away(
        self, told: Callable[[list[Partition]], None], partitions: list[Partition]
    ) -> None:
        told(partitions)
        self.given = self.given.difference(partitions)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        refused = error or next((p.error for p in partitions if p.error is not None), None)
        done, self._committing = self._committing, None
        if done is not None:
            done(refused)

    def _each(
        self, act: Callable[[list[TopicPartition]], None], partitions: Iterable[Partition]
    ) -> None:
        owned = {(p.topic, p.partition) for p in self._consumer.assignment()}
        if wanted := [TopicPartition(*pair) for pair in partitions if pair in owned]:
            act(wanted)

    def _event(self, message: Message, error: KafkaError, polled: Polled) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self.missing.pop(message.topic() or "", None)
            polled.ends.append(
                (message.topic() or "", message.partition() or 0, message.offset() or 0)
            )
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._has_no_place(message, error, polled)
        elif error.code() == KafkaError._FATAL or error.fatal():
            if _FENCED in error.str() or _UNRELEASED in error.str():
                name, for_now = self._settings.group_instance_id, _UNRELEASED in error.str()
                raise InstanceIdTaken(self.group, name, for_now=for_now)
            if GROUP_DENIED in error.str():
                self._on_denied()
                raise GroupDenied(self.group)
            if _NO_GROUP in error.str():
                raise GroupForgotten(self.group)
            raise translate(error, f"consuming in group {self.group}", self._settings)
        elif error.code() in NO_TOPIC and message.topic():
            self._is_missing(message.topic() or "", error)
        else:
            if is_denial(error):
                self._on_denied()
            where = f"{message.topic()}[{message.partition()}]" if message.topic() else "consumer"
            logger.warning("group %s: %s: %s", self.group, where, error.str())

    def _has_no_place(self, message: Message, error: KafkaError, polled: Polled) -> None:
        """Begin where nothing was ever committed; tell of an offset that the log does not have."""
        pair = (message.topic() or "", message.partition() or 0)
        if _NO_OFFSET in error.str():
            # The same may be told twice of one assignment; by the second time it has begun.
            if pair not in self._placed:
                self._unset.append(pair)
        else:
            logger.info("group %s: %s[%d]: %s", self.group, *pair, error.str())
            cut = None
            if _CUT_OFF in error.str():
                cut = int(at[1]) if (at := _CUT_AT.search(error.str())) else 0
            polled.strayed.append(Stray(*pair, message.offset() or 0, cut))

    def _assign_again(self, places: Mapping[Partition, int]) -> None:
        """Have partitions fetched from there that the client has given up: it takes no seek.

        With an eager assignor all of them are assigned again, the others from where they are.
        """
        owned = _pairs(self._consumer.assignment())
        wanted = [TopicPartition(*pair, at) for pair, at in places.items() if pair in owned]
        if not wanted:
            return
        self._placed.update(places)
        if self._protocol == "consumer":
            self._consumer.incremental_unassign(wanted)
            self._consumer.incremental_assign(wanted)
        else:
            others = [TopicPartition(*pair) for pair in owned if pair not in places]
            for other in self._consumer.position(others):
                if other.offset == OFFSET_INVALID:  # nothing was handed over of it
                    other.offset = self._placed.get((other.topic, other.partition), other.offset)
                wanted.append(other)
            self._consumer.assign(wanted)

    def _is_missing(self, topic: str, error: KafkaError) -> None:
        """Tell it once: the client says so ten times a second."""
        if topic not in self.missing:
            logger.error(
                "group %s: topic %s is not there (%s): was it deleted? Nothing of it runs; "
                "'streamjobs -A module:app topics apply' makes it anew, without what it held",
                self.group,
                topic,
                error.str(),
            )
        self.missing[topic] = error.str()


def _pairs(partitions: Iterable[TopicPartition]) -> list[Partition]:
    return [(p.topic, p.partition) for p in partitions]
