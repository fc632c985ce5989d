"""What the broker knows of a queue: what waits, retries and is dead, and who works on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from streamjobs.clock import format_duration
from streamjobs.errors import TopicsError
from streamjobs.kafka.admin import Admin, Partition, Watermarks
from streamjobs.kafka.reader import read
from streamjobs.marks import survey
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

Logs = dict[Partition, Watermarks]


@dataclass(frozen=True)
class QueueStatus:
    """One queue at one moment.

    Attributes:
        waiting: jobs in the main topics behind the committed offsets, those that run among them.
            An upper bound: markers of producers' transactions count.
        waiting_by_priority: the same by priority, most urgent first; empty: the queue has none.
        running: None: only the workers know, and they do not report it.
        retrying: jobs in each retry tier by its delay (``"10s"``), shortest first.
        parked_keys: different keys among the retrying.
        dead: records in the DLQ that were not put back.
        members: members of the queue's group; None: the broker cannot say.
    """

    waiting: int
    running: int | None
    retrying: dict[str, int]
    parked_keys: int
    dead: int
    members: int | None
    waiting_by_priority: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; ``waiting_by_priority`` only where the queue has priorities."""
        found = asdict(self)
        if not self.waiting_by_priority:
            del found["waiting_by_priority"]
        return found


def queue_status(settings: Settings, topics: QueueTopics) -> QueueStatus:
    """Ask the broker about a queue; its tiers and its DLQ are read and counted.

    Raises:
        TopicsError: the queue's topics are not there.
        BrokerUnavailable: the broker does not answer.
    """
    with Admin(settings) as admin:
        infos = admin.topics()
        tiers = topics.tiers_among(infos)
        if missing := [name for name in (*topics.mains, topics.dlq) if name not in infos]:
            raise TopicsError(
                f"queue {topics.queue!r} has no topic {' and no '.join(missing)}: "
                "'streamjobs -A module:app topics apply' creates it"
            )
        wanted = [*topics.mains, *tiers]
        places = [(name, p) for name in wanted for p in range(infos[name].partitions)]
        logs = admin.watermarks(places)
        committed = admin.committed(topics.group, places)
        members = admin.members(topics.group)
    waiting = {
        main: sum(_behind(place, log, committed) for place, log in logs.items() if place[0] == main)
        for main in topics.mains
    }
    retrying, keys = _count_tiers(settings, logs, committed, tiers)
    return QueueStatus(
        waiting=sum(waiting.values()),
        running=None,
        retrying={format_duration(delay): retrying[name] for name, delay in tiers.items()},
        parked_keys=keys,
        dead=_count_dead(settings, topics),
        members=members,
        waiting_by_priority=dict(zip(topics.priorities, waiting.values(), strict=False)),
    )


def _behind(place: Partition, log: Watermarks, committed: dict[Partition, int]) -> int:
    """Offsets from the committed one, or the first there is, to the end."""
    return max(0, log.end - max(log.start, committed.get(place, log.start)))


def _count_tiers(
    settings: Settings, logs: Logs, committed: dict[Partition, int], tiers: Iterable[str]
) -> tuple[Counter[str], int]:
    """Count records and keys: offsets would count the markers of the workers' transactions."""
    names = set(tiers)
    ranges = {
        place: (log.end - _behind(place, log, committed), log.end)
        for place, log in logs.items()
        if place[0] in names
    }
    counts: Counter[str] = Counter()
    keys: set[bytes] = set()
    for record in read(settings, ranges):
        counts[record.topic] += 1
        if record.key is not None:
            keys.add(record.key)
    return counts, len(keys)


def _count_dead(settings: Settings, topics: QueueTopics) -> int:
    log = survey(settings, topics, whole=False)
    records = read(settings, log.ranges)
    return sum((record.partition, record.offset) not in log.taken for record in records)
