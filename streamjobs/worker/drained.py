"""When a worker that drains may end: when its groups are done, whoever owns the partitions."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from streamjobs.engine.ladder import Ladder
from streamjobs.kafka.progress import GroupProgress
from streamjobs.settings import Settings


class Drained:
    """Asks the broker whether every partition of main and tiers is committed to its end.

    A job that is waiting, running or parked anywhere holds back an offset, so two answers in a
    row are not needed: a move and the offset it completes become visible together.

    Args:
        settings: of the process.
        ladders: of the queues.
    """

    def __init__(self, settings: Settings, ladders: list[Ladder]) -> None:
        self._stack = ExitStack()
        self._groups = [
            self._stack.enter_context(
                GroupProgress(settings, x.topics.group, [*x.mains, *x.reads], x.partitions)
            )
            for x in ladders
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def now(self) -> bool:
        """Whether all of it is at its end."""
        return all(group.at_end() for group in self._groups)
