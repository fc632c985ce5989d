"""Questions about topics, offsets and groups, and the making of topics.

An ``Admin`` may be used from any thread, one call at a time.
"""
# librdkafka's own error codes, as against the broker's, are spelt with an underscore.

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerUnavailable, StreamjobsError, TopicsError
from streamjobs.kafka.answers import (
    COORDINATOR_MOVES,
    REQUEST_TIMEOUT,
    gather,
    list_offsets,
)
from streamjobs.kafka.changes import VISIBLE_TIMEOUT, Changes
from streamjobs.kafka.config import admin_config, consumer_config
from streamjobs.kafka.controller import require_controller
from streamjobs.kafka.failures import UNSUPPORTED, kafka_error, translate, unanswered
from streamjobs.kafka.groups import describe_group
from streamjobs.kafka.members import given_to
from streamjobs.kafka.plan import (
    APPLY,
    Alter,
    Create,
    Grow,
    OldMain,
    Plan,
    TopicState,
    concerned,
    make_plan,
    old_mains,
)
from streamjobs.kafka.rights import Needs, denied
from streamjobs.settings import Settings
from streamjobs.topics import TopicSpec

logger = logging.getLogger("streamjobs.kafka")

_TRY_TIMEOUT = 2.0
# librdkafka's in-memory cluster gives itself away by its name.
_MOCK_CLUSTER = "mockCluster"

Partition = tuple[str, int]
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka's
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka's


@dataclass(frozen=True)
class TopicInfo:
    """A topic of the broker; ``topic_id`` is empty where the broker has none."""

    partitions: int
    topic_id: str


@dataclass(frozen=True)
class GroupLimits:
    """What brokers keep of a group's offsets; None where they do not tell.

    Attributes:
        text_bytes: how many bytes beside an offset.
        offsets_minutes: for how long once nobody is in the group.
    """

    text_bytes: int | None
    offsets_minutes: int | None


@dataclass(frozen=True)
class Watermarks:
    """The log of one partition: its first offset, and the one the next record will get."""

    start: int
    end: int


class Admin:
    """An admin client; a context manager.

    Every method raises ``BrokerUnavailable`` or ``AuthenticationError`` besides what it names.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AdminClient(admin_config(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go; nothing can be asked afterwards."""
        del self._client

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded broker, which has no topic administration."""
        return str(self._metadata("asking for the cluster").cluster_id).startswith(_MOCK_CLUSTER)

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Return the topics there are, of ``names`` or of the whole broker; absent: not there.

        Asking never creates a topic.
        """
        metadata = self._metadata("listing topics")
        counts = {t.topic: len(t.partitions) for t in metadata.topics.values() if not t.error}
        wanted = list(counts if names is None else (n for n in dict.fromkeys(names) if n in counts))
        if not wanted or str(metadata.cluster_id).startswith(_MOCK_CLUSTER):
            return {name: TopicInfo(counts[name], "") for name in wanted}
        return self.described(wanted)

    def described(self, wanted: Sequence[str]) -> dict[str, TopicInfo]:
        """Return these topics; absent: not there. Asks for no other, however many there are."""
        require_controller(self._client, self._settings, wanted[0])
        futures = self._client.describe_topics(
            TopicCollection(list(wanted)), request_timeout=REQUEST_TIMEOUT
        )
        described = gather(
            futures, "describing topics", self._settings, KafkaError.UNKNOWN_TOPIC_OR_PART
        )
        return {
            name: TopicInfo(len(topic.partitions), str(topic.topic_id))
            for name, topic in described.items()
        }

    def denied(self, needs: Needs, group: str | None) -> list[str]:
        """Ask what we may not do with topics and a group, a sentence each; see ``kafka.rights``."""
        require_controller(self._client, self._settings, next(iter(needs)))
        return denied(self._client, self._settings, needs, group)

    def given_to(self, group: str, topic: str, process: str) -> set[tuple[str, int]] | None:
        """Ask what a process has been given by a group; see ``kafka.members``."""
        return given_to(self._settings, group, topic, process)

    def plan(self, specs: Sequence[TopicSpec]) -> Plan:
        """Compare the topics an app needs with those there are; changes nothing.

        Raises:
            TopicsError: the embedded broker can tell no settings.
        """
        self._refuse_embedded()
        infos = self.topics()
        configs = self._configs(sorted(concerned(specs, infos)))
        there = {
            name: TopicState(name, infos[name].partitions, infos[name].topic_id, config)
            for name, config in configs.items()
        }
        plan = make_plan(specs, there)
        old = tuple(
            replace(t, empty=not self._unread(t.topic, t.group, infos)) for t in plan.old_tiers
        )
        return replace(plan, old_tiers=old).with_old_mains(self.old_mains(specs, infos))

    def old_mains(
        self, specs: Sequence[TopicSpec], infos: Mapping[str, TopicInfo]
    ) -> list[OldMain]:
        """Return the main topics that are there and not wanted any more, with what waits in them.

        Args:
            specs: every topic of the queues as it has to be.
            infos: every topic there is.
        """
        return [
            replace(main, waiting=self._unread(main.topic, main.queue.group, infos))
            for main in old_mains(specs, infos)
        ]

    def apply(self, plan: Plan) -> None:
        """Carry out the steps of a plan, and return once its topics and settings can be seen.

        What is there already is no error, so two may do this at the same time.

        Raises:
            TopicsError: the broker refuses a topic or a setting, named with its reason.
        """
        self._refuse_embedded()
        change = Changes(self._client, self._settings)
        created = [step for step in plan.steps if isinstance(step, Create)]
        change.create(created)
        grown = [step for step in plan.steps if isinstance(step, Grow)]
        change.grow(grown)
        altered = [step for step in plan.steps if isinstance(step, Alter)]
        change.alter(altered)
        counts = {step.topic: step.partitions for step in created}
        self._wait_until_visible(counts | {step.topic: step.partitions for step in grown})
        self._wait_until_set({step.topic: step.config for step in altered})

    def set_session_timeout(self, groups: Iterable[str], milliseconds: int) -> None:
        """Set how long KIP-848 members may be silent: a setting of the group, on the broker.

        Raises:
            TopicsError: the broker refuses; it allows 45 to 60 s unless it is configured otherwise.
        """
        self._refuse_embedded()
        timeout = ConfigEntry(
            "consumer.session.timeout.ms",
            str(milliseconds),
            incremental_operation=AlterConfigOpType.SET,
        )
        resources = [
            ConfigResource(ResourceType.GROUP, group, incremental_configs=[timeout])
            for group in groups
        ]
        futures = self._client.incremental_alter_configs(resources, request_timeout=REQUEST_TIMEOUT)
        change = Changes(self._client, self._settings)
        change.carry_out(
            {r.name: f for r, f in futures.items()}, "set the session timeout of group"
        )

    def group_limits(self) -> GroupLimits:
        """Return what brokers keep of a group's offsets, the least of all."""
        brokers = self._metadata("asking for brokers").brokers
        asked = [ConfigResource(ResourceType.BROKER, str(number)) for number in brokers]
        futures: dict[Any, Any] = {}
        try:
            for broker in asked:  # the client takes one of them in a call (librdkafka 2.16)
                futures |= self._client.describe_configs([broker], request_timeout=REQUEST_TIMEOUT)
            answer = gather(futures, "reading the settings of brokers", self._settings)
        except StreamjobsError as error:
            logger.info("brokers do not tell what they keep beside an offset: %s", error)
            return GroupLimits(None, None)

        def least(name: str) -> int | None:
            found = [entries.get(name) for entries in answer.values()]
            return min((int(e.value) for e in found if e is not None and e.value), default=None)

        return GroupLimits(least("offset.metadata.max.bytes"), least("offsets.retention.minutes"))

    def watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, Watermarks]:
        """Return first and end offset of each partition.

        The end is the high watermark. The last stable offset, which readers see, lags behind it
        for some milliseconds after a transaction was committed, so it would hide what is there.

        Raises:
            TopicsError: a topic does not exist.
        """
        wanted = list(partitions)
        starts = list_offsets(self._client, self._settings, wanted, _EARLIEST)
        ends = list_offsets(self._client, self._settings, wanted, _LATEST)
        return {p: Watermarks(starts[p], max(starts[p], ends[p])) for p in wanted}

    def committed(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return what a group has committed; partitions without a commit are left out."""
        wanted = [TopicPartition(topic, p) for topic, p in partitions]
        if not wanted:
            return {}
        # By a consumer that joins nothing: the admin client's own request crashes the process when
        # the coordinator has just moved (librdkafka 2.16, rd_kafka_handle_OffsetFetch without a
        # consumer group). Uncommitted: it does not wait for open transactions.
        config = consumer_config(self._settings, group, isolation_level="read_uncommitted")
        consumer = Consumer(config)
        deadline = monotonic() + REQUEST_TIMEOUT
        try:
            while (answer := self._offsets_of(group, consumer, wanted, deadline)) is None:
                self._client.poll(0.1)
        finally:
            consumer.close()
        return {
            (tp.topic, tp.partition): tp.offset
            for tp in answer
            if tp.error is None and tp.offset >= 0
        }

    def members(self, group: str) -> int | None:
        """Return how many members a group has, classic or KIP-848; None: the broker cannot say.

        Asked for again: the first question to a broker that has never had a group gets no answer at
        all, and the second one does at once, so that a long timeout would only be waited for.
        """
        doing, deadline = f"describing group {group}", monotonic() + REQUEST_TIMEOUT
        while True:
            try:
                described = describe_group(self._settings, group, _TRY_TIMEOUT)
            except TimeoutError as error:
                if monotonic() > deadline:
                    raise unanswered(doing, self._settings) from error
            except KafkaException as error:
                code = kafka_error(error).code()
                if code in {UNSUPPORTED, KafkaError.GROUP_ID_NOT_FOUND}:
                    return None if code == UNSUPPORTED else 0
                told = translate(error, doing, self._settings)
                if not isinstance(told, BrokerUnavailable) or monotonic() > deadline:
                    raise told from error
                self._client.poll(0.1)
            else:
                dead = described.state is ConsumerGroupState.DEAD
                return 0 if dead else len(described.members)

    def _offsets_of(
        self, group: str, consumer: Consumer, wanted: list[TopicPartition], deadline: float
    ) -> list[TopicPartition] | None:
        """Ask once; None while the group's coordinator moves, or begins to be one."""
        try:
            return consumer.committed(wanted, timeout=REQUEST_TIMEOUT)
        except KafkaException as error:
            if kafka_error(error).code() in COORDINATOR_MOVES and monotonic() < deadline:
                return None
            doing = f"asking for the offsets of group {group}"
            raise translate(error, doing, self._settings) from error

    def _metadata(self, doing: str) -> Any:
        try:
            return self._client.list_topics(timeout=REQUEST_TIMEOUT)
        except KafkaException as error:
            raise translate(error, doing, self._settings) from error

    def _refuse_embedded(self) -> None:
        if self.embedded:
            raise TopicsError(
                "the embedded broker has no topic administration: start it with -A "
                "(streamjobs -A module:app broker --engine embedded) so that it creates the topics"
            )

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT)
        answer = gather(
            {resource.name: future for resource, future in futures.items()},
            "reading the settings of topics",
            self._settings,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
        )
        return {
            name: {key: entry.value for key, entry in entries.items() if entry.value is not None}
            for name, entries in answer.items()
        }

    def _wait_until_visible(self, wanted: Mapping[str, int]) -> None:
        deadline = monotonic() + VISIBLE_TIMEOUT
        while missing := wanted.keys() - self._with_leaders(wanted):
            if monotonic() > deadline:
                raise BrokerUnavailable(
                    f"topics were created and have no leader after {VISIBLE_TIMEOUT:g} s: "
                    f"{', '.join(sorted(missing))}; check the brokers and run '{APPLY}' again"
                )
            self._client.poll(0.05)

    def _wait_until_set(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        """Wait for the broker to hear of settings that so far only the controller has taken."""
        deadline = monotonic() + VISIBLE_TIMEOUT
        while True:
            configs = self._configs(list(wanted))
            late = [n for n, c in configs.items() if not wanted[n].items() <= c.items()]
            if not late:
                return
            if monotonic() > deadline:
                raise BrokerUnavailable(
                    f"settings were changed and are not seen after {VISIBLE_TIMEOUT:g} s: "
                    f"{', '.join(late)}; check the brokers and run '{APPLY}' again"
                )
            self._client.poll(0.05)

    def _with_leaders(self, wanted: Mapping[str, int]) -> set[str]:
        if not wanted:
            return set()
        topics = self._metadata("waiting for new topics").topics
        return {
            name
            for name in wanted.keys() & topics.keys()
            if topics[name].error is None
            and len(topics[name].partitions) >= wanted[name]
            and all(p.leader >= 0 for p in topics[name].partitions.values())
        }

    def _unread(self, topic: str, group: str, infos: Mapping[str, TopicInfo]) -> int:
        """Count the offsets of a topic that a group has not committed."""
        partitions = [(topic, p) for p in range(infos[topic].partitions)]
        done = self.committed(group, partitions)
        logs = self.watermarks(partitions)
        return sum(max(0, x.end - max(x.start, done.get(p, x.start))) for p, x in logs.items())
