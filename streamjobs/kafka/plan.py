"""What has to change so that the topics are as they must be. Pure: the broker's answers come in.

Nothing here ever deletes, or shortens what a topic keeps. Partitions are added to topics that only
workers write, each record to a partition that they choose, and never to one that keys decide about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from streamjobs.topics import HEADER_ROOM, MAX_BYTES, QueueTopics, TopicSpec, tier_spec
from streamjobs.wording import counted

APPLY = "streamjobs -A module:app topics apply"
# Settings of which more is as good: -1 stands for no limit.
_AT_LEAST = frozenset({"retention.ms", MAX_BYTES})
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
class Grow:
    """Partitions to be added to a retry tier, a DLQ or the marks; ``before``: how many it has."""

    topic: str
    partitions: int
    before: int

    def __str__(self) -> str:
        return f"add partitions to {self.topic}: {self.partitions} (now {self.before})"


Step = Create | Alter | Grow


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
class OldMain:
    """A main topic that exists and is read no more, since today's code has other priorities.

    Attributes:
        topic: its name.
        queue: whose it is, with today's priorities.
        waiting: offsets that the group has not committed, at least as many as there are jobs;
            None: not asked yet.
    """

    topic: str
    queue: QueueTopics
    waiting: int | None = None

    @property
    def problem(self) -> str:
        """Say why no worker may start while jobs wait in it, and what to do."""
        name, now = self.queue.queue, ", ".join(self.queue.priorities) or "none"
        return (
            f"topic {self.topic} holds up to {counted(self.waiting or 0, 'job')} of queue {name!r} "
            f"that would never run: its priorities are now {now}; run a worker of the release "
            f"before ('worker -q {name} --drain') until they are done, or, when they are not "
            f"needed, 'kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic {self.topic}'"
        )

    def __str__(self) -> str:
        return (
            f"{self.topic}: no priority of queue {self.queue.queue!r} names it any more and all "
            "its jobs are done: delete it once no producer of the older release runs; the broker "
            "forgets in time that they are done (offsets.retention.minutes), and workers would "
            "then refuse to start"
        )


@dataclass(frozen=True)
class Plan:
    """The difference between the topics there are and the topics there must be.

    Attributes:
        steps: what ``topics apply`` does.
        problems: a sentence each; a worker refuses to start while there is one.
        added: those of the problems that say that partitions were added to a main topic: a worker
            may go on with those that were there before.
        old_tiers: tiers that the code names no more.
        old_mains: main topics that the code names no more.
    """

    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    old_tiers: tuple[OldTier, ...] = field(default=())
    old_mains: tuple[OldMain, ...] = field(default=())

    def with_old_mains(self, mains: Iterable[OldMain]) -> Plan:
        """Return the plan with main topics that were asked about; unread jobs are a problem."""
        found = tuple(mains)
        unread = [main.problem for main in found if main.waiting]
        return replace(self, old_mains=found, problems=(*unread, *self.problems))


def make_plan(specs: Sequence[TopicSpec], there: Mapping[str, TopicState]) -> Plan:
    """Compare the topics an app needs with those the broker has.

    Args:
        specs: every topic as it has to be.
        there: every topic of the broker that may matter, by name, with its settings.
    """
    steps: list[Step] = []
    problems: list[str] = []
    added: list[str] = []
    settled = _settled_counts(specs, there)
    old = _old_tiers(specs, there)
    for spec in (_roomy(spec, there) for spec in [*specs, *old]):
        state = there.get(spec.name)
        count = spec.partitions if spec.queue is None else settled[spec.queue]
        if state is None:
            # Else its queue is there with another partition count: that has to be settled first.
            if count == spec.partitions:
                steps.append(Create(spec.name, spec.partitions, spec.config))
            continue
        if _was_added_to(spec, state, count):
            added.append(added_problem(spec.name, state.partitions, spec.partitions, spec.queue))
        elif _may_grow(spec, state, there):
            steps.append(Grow(spec.name, spec.partitions, state.partitions))
        else:
            problems += _count_problem(spec, state, count)
        steps += _alter(spec, state)
    problems = [*added, *problems, *map(_step_problem, steps)]
    told = tuple(OldTier(spec.name, spec.queue.group) for spec in old if spec.queue)
    return Plan(tuple(steps), tuple(problems), tuple(added), told)


def concerned(specs: Sequence[TopicSpec], names: Iterable[str]) -> set[str]:
    """Return those of ``names`` that matter to a plan: wanted topics, and tiers of their queues."""
    there = set(names)
    mine = there & {spec.name for spec in specs}
    return mine.union(*(queue.tiers_among(there) for queue in _queues(specs)))


def old_mains(specs: Sequence[TopicSpec], names: Iterable[str]) -> list[OldMain]:
    """Return those of ``names`` that were main topics of the specs' queues and are no more."""
    there = set(names)
    return [
        OldMain(topic, queue) for queue in _queues(specs) for topic in queue.old_mains_among(there)
    ]


def added_problem(
    topic: str, partitions: int, declared: int, queue: QueueTopics | None, *, running: bool = False
) -> str:
    """Say what it means that a main topic has more partitions than its queue, and the way out.

    Args:
        topic: its name.
        partitions: how many it has.
        declared: how many the queue has.
        queue: whose topic it is.
        running: whether a worker of the queue says so that goes on, not one that refuses to start.
    """
    name = queue.queue if queue else ""
    old = "partition 0" if declared == 1 else f"partitions 0 to {declared - 1}"
    drain = "let the workers run" if running else f"run 'worker -q {name} --drain --old-partitions'"
    return (
        f"topic {topic} has {counted(partitions, 'partition')}, and queue {name!r} {declared}: "
        "partitions were added, so keys go to other partitions now, and jobs of a key may overtake "
        f"those that wait in {old}; what is in the added ones waits, and nothing is lost. "
        f"Stop what enqueues, {drain} until all in {old} is done, then set "
        f"partitions={partitions} for the queue and run '{APPLY}'; its workers take all of them"
    )


def _roomy(spec: TopicSpec, there: Mapping[str, TopicState]) -> TopicSpec:
    """Let a topic that jobs are moved to take the largest that main topics take, and headers."""
    if spec.queue is None or MAX_BYTES not in spec.config:
        return spec
    mains = [there[main].config for main in spec.queue.mains if main in there]
    largest = max((int(config.get(MAX_BYTES, 0)) for config in mains), default=0)
    room = max(int(spec.config[MAX_BYTES]), largest + HEADER_ROOM)
    return replace(spec, config={**spec.config, MAX_BYTES: str(room)})


def _was_added_to(spec: TopicSpec, state: TopicState, settled: int) -> bool:
    """Whether a main topic has more partitions than its queue."""
    queue = spec.queue
    is_main = queue is not None and spec.name in queue.mains
    return is_main and settled == spec.partitions < state.partitions


def _may_grow(spec: TopicSpec, state: TopicState, there: Mapping[str, TopicState]) -> bool:
    """Whether a topic that only workers write lacks partitions that all main topics have."""
    if spec.queue is None or spec.name in spec.queue.mains or state.partitions >= spec.partitions:
        return False
    mains = [there[main].partitions for main in spec.queue.mains if main in there]
    return bool(mains) and set(mains) == {spec.partitions}


def _step_problem(step: Step) -> str:
    if isinstance(step, Create):
        return f"topic {step.topic} does not exist; '{APPLY}' creates it"
    if isinstance(step, Grow):
        have = counted(step.before, "partition")
        return f"topic {step.topic} has {have} and needs {step.partitions}; '{APPLY}' adds them"
    wrong = ", ".join(
        f"{name} is {step.before.get(name, 'not set')} and must be "
        f"{'at least ' if name in _AT_LEAST else ''}{value}"
        for name, value in step.config.items()
    )
    return f"topic {step.topic}: {wrong}; '{APPLY}' sets it"


def _count_problem(spec: TopicSpec, state: TopicState, settled: int) -> list[str]:
    """Say what is wrong with a topic's partition count, where its queue has settled on one."""
    if spec.partitions == state.partitions == settled or spec.queue is None:
        return []  # of the app's own topics more do no harm: the first is read and written
    have = f"topic {spec.name} has {counted(state.partitions, 'partition')}"
    if state.partitions == settled:
        problem = (
            f"{have}, the app says {spec.partitions}: keys would change their partition, so none "
            f"are ever added or removed; set partitions={state.partitions} for its queue, or "
            "declare a queue of another name"
        )
    elif state.partitions < settled != spec.partitions and spec.name not in spec.queue.mains:
        problem = (
            f"{have} and queue {spec.queue.queue!r} otherwise {settled}: set partitions={settled} "
            f"for it, and '{APPLY}' adds what is missing"
        )
    else:
        problem = (
            f"{have} and queue {spec.queue.queue!r} otherwise {settled}: all of a queue's topics "
            "need the same; when nothing in it is needed, "
            f"'kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic {spec.name}' and then "
            f"'{APPLY}' make it anew, else declare a queue of another name"
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


def _queues(specs: Iterable[TopicSpec]) -> list[QueueTopics]:
    """The queues whose topics are among the specs."""
    return list(dict.fromkeys(spec.queue for spec in specs if spec.queue is not None))


def _settled_counts(
    specs: Sequence[TopicSpec], there: Mapping[str, TopicState]
) -> dict[QueueTopics, int]:
    """The partition count of each queue.

    It is what code says, if a topic of it has so many or none is there; else that of the first.
    """
    wanted = {spec.queue: spec.partitions for spec in specs if spec.queue is not None}
    found: dict[QueueTopics, list[int]] = {queue: [] for queue in wanted}
    for spec in specs:
        if spec.queue is not None and spec.name in there:
            found[spec.queue].append(there[spec.name].partitions)
    return {
        queue: count if count in found[queue] or not found[queue] else found[queue][0]
        for queue, count in wanted.items()
    }


def _old_tiers(specs: Sequence[TopicSpec], there: Mapping[str, TopicState]) -> list[TopicSpec]:
    """How the tiers that code names no more have to be: like any other of their queue."""
    named = {spec.name for spec in specs}
    wanted = {spec.queue: spec.partitions for spec in specs}
    return [
        tier_spec(queue, delay, wanted[queue])
        for queue in _queues(specs)
        for tier, delay in queue.tiers_among(there).items()
        if tier not in named
    ]


def _settings(config: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(config.items()))
