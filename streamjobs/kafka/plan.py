"""What has to change so that the topics are as they must be. Pure: the broker's answers come in.

Nothing here ever deletes, adds partitions, or shortens what a topic keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamjobs.topics import QueueTopics, TopicSpec, queue_specs

APPLY = "streamjobs topics apply"
# Settings of which more is as good: -1 stands for no limit.
_AT_LEAST = frozenset({"retention.ms", "max.message.bytes"})
_UNLIMITED = -1


@dataclass(frozen=True)
class TopicState:
    """One topic as the broker has it: its partition count, id and effective settings."""

    name: str
    partitions: int
    topic_id: str
    config: Mapping[str, str]


@dataclass(frozen=True)
class Create:
    """A topic to be made; with the broker's own replication factor."""

    topic: str
    partitions: int
    config: Mapping[str, str]

    def __str__(self) -> str:
        return f"create {self.topic}: partitions={self.partitions}, {_settings(self.config)}"


@dataclass(frozen=True)
class Alter:
    """Settings of a topic to be changed; ``before`` has what they are now."""

    topic: str
    config: Mapping[str, str]
    before: Mapping[str, str]

    def __str__(self) -> str:
        was = _settings({name: self.before.get(name, "not set") for name in self.config})
        return f"alter {self.topic}: {_settings(self.config)} (now {was})"


@dataclass(frozen=True)
class OldTier:
    """A retry tier that exists and is read, though today's code does not name it.

    Attributes:
        topic: its name.
        group: the queue's consumer group.
        empty: whether every record in it is complete; None: not asked yet.
    """

    topic: str
    group: str
    empty: bool | None = None

    def __str__(self) -> str:
        if self.empty:
            return (
                f"{self.topic}: no job's ladder names it any more and it is empty: it may be "
                "deleted once no worker of the older release runs"
            )
        return (
            f"{self.topic}: no job's ladder names it any more; workers read it still, "
            "and it is not empty: keep it"
        )


@dataclass(frozen=True)
class Plan:
    """The difference between the topics there are and the topics there must be.

    Attributes:
        steps: what ``topics apply`` does.
        problems: a sentence each; a worker refuses to start while there is one.
        old_tiers: tiers that the code names no more.
    """

    steps: tuple[Create | Alter, ...] = ()
    problems: tuple[str, ...] = ()
    old_tiers: tuple[OldTier, ...] = field(default=())


def make_plan(specs: Sequence[TopicSpec], there: Mapping[str, TopicState]) -> Plan:
    """Compare the topics an app needs with those the broker has.

    Args:
        specs: every topic as it has to be.
        there: every topic of the broker that may matter, by name, with its settings.
    """
    steps: list[Create | Alter] = []
    problems: list[str] = []
    counts = _queue_counts(specs, there)
    for spec in specs:
        state = there.get(spec.name)
        settled = counts.get(spec.name, spec.partitions)
        if state is not None:
            problems += _count_problem(spec, state)
            steps += _alter(spec, state)
        elif settled == spec.partitions:
            steps.append(Create(spec.name, spec.partitions, spec.config))
        # Else its queue is there with another partition count: that has to be settled first.
    old = tuple(_old_tiers(specs, there))
    for tier in old:
        spec = _old_tier_spec(tier, specs, there)
        problems += _count_problem(spec, there[tier.topic])
        steps += _alter(spec, there[tier.topic])
    problems += [_step_problem(step) for step in steps]
    return Plan(tuple(steps), tuple(problems), old)


def _step_problem(step: Create | Alter) -> str:
    if isinstance(step, Create):
        return f"topic {step.topic} does not exist; '{APPLY}' creates it"
    wrong = ", ".join(
        f"{name} is {step.before.get(name, 'not set')} and must be "
        f"{'at least ' if name in _AT_LEAST else ''}{value}"
        for name, value in step.config.items()
    )
    return f"topic {step.topic}: {wrong}; '{APPLY}' sets it"


def _count_problem(spec: TopicSpec, state: TopicState) -> list[str]:
    if spec.partitions == state.partitions:
        return []
    problem = (
        f"topic {spec.name} has {state.partitions} partitions, the app says {spec.partitions}: "
        "keys would change their partition, so none are ever added or removed; "
        f"set partitions={state.partitions} for its queue, or declare a queue of another name"
    )
    return [problem]


def _alter(spec: TopicSpec, state: TopicState) -> list[Alter]:
    wrong = {
        name: value
        for name, value in spec.config.items()
        if not _satisfies(name, state.config.get(name), value)
    }
    if not wrong:
        return []
    before = {name: state.config[name] for name in wrong if name in state.config}
    return [Alter(spec.name, wrong, before)]


def _satisfies(name: str, have: str | None, want: str) -> bool:
    if have is None or have == want:
        return have is not None
    if name not in _AT_LEAST:
        return False
    return int(have) == _UNLIMITED or (int(want) != _UNLIMITED and int(have) >= int(want))


def _queues(specs: Iterable[TopicSpec]) -> dict[str, QueueTopics]:
    """The queues among the specs by the name of their main topic: those that have a DLQ."""
    names = {spec.name for spec in specs}
    return {
        name: QueueTopics(*name.rsplit(".", 1))
        for name in sorted(names)
        if "." in name and f"{name}.dlq" in names
    }


def _queue_counts(specs: Sequence[TopicSpec], there: Mapping[str, TopicState]) -> dict[str, int]:
    """The partition count that the topics of each queue share, where its main topic exists."""
    counts = {}
    for main, topics in _queues(specs).items():
        if main in there:
            mine = {main, topics.dlq, *topics.tiers_among(spec.name for spec in specs)}
            counts.update(dict.fromkeys(mine, there[main].partitions))
    return counts


def _old_tiers(specs: Sequence[TopicSpec], there: Mapping[str, TopicState]) -> Iterable[OldTier]:
    named = {spec.name for spec in specs}
    for topics in _queues(specs).values():
        for tier in topics.tiers_among(there):
            if tier not in named:
                yield OldTier(tier, topics.group)


def _old_tier_spec(
    tier: OldTier, specs: Sequence[TopicSpec], there: Mapping[str, TopicState]
) -> TopicSpec:
    """How a tier that is read still has to be: like any other of its queue."""
    queue = next(q for q in _queues(specs).values() if q.tier_delay(tier.topic) is not None)
    delay = queue.tier_delay(tier.topic) or 0.0
    wanted = {spec.name: spec.partitions for spec in specs}[queue.main]
    partitions = there[queue.main].partitions if queue.main in there else wanted
    return queue_specs(queue, partitions=partitions, delays=[delay])[1]


def _settings(config: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(config.items()))
