"""Where a shard's partitions stand: the words in which the broker's answers are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Partition = tuple[str, int]


class Stand(NamedTuple):
    """How far a partition is: its committed offset, and the text beside it.

    Attributes:
        offset: the committed one; None: nothing was ever committed.
        text: what stands beside it.
        low: the first offset that the log still has; asked where nothing was committed.
    """

    offset: int | None
    text: str | None = None
    low: int = 0


@dataclass
class Stands:
    """The answer to ``stands``: of one shard, by topic.

    Attributes:
        members: of the processes that tried a job alone, those that are in the group.
    """

    number: int
    token: object
    of: dict[str, Stand]
    members: frozenset[str] = frozenset()


@dataclass
class Ends:
    """The answer to ``ends``: high watermarks of one shard's partitions, by topic."""

    number: int
    token: object
    of: dict[str, int]
