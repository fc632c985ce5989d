"""What an owner that vanished may have been running: between the engine and who runs it apart."""

from __future__ import annotations

from streamjobs.engine.engine import Engine
from streamjobs.executors.split import Executor


class Suspects:
    """Carries between them what is suspected, and what is cleared; owned by the loop.

    Args:
        executor: runs suspects apart.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor, self._asked, self._expected = executor, False, False

    def look(self, engine: Engine, *, vanished: bool, expected: bool) -> None:
        """Suspect more, or clear all, and have a process ready while something is tried alone.

        Args:
            engine: the loop's.
            vanished: whether a shard was taken just now whose last owner has vanished.
            expected: whether one is being taken that will come with suspects.
        """
        alone, known = engine.alone, not self._executor.doubting
        if vanished or (alone.on and known):
            self._executor.doubt(alone.growth)
        elif alone.doubts and known:
            engine.clear()
        # A process starts while the owner that vanished is done with, which may take a second: what
        # it left open is ended before the first suspect is known.
        self._expected = expected or (self._expected and alone.doubts)
        wanted = alone.waits or self._expected
        asks, self._asked = wanted or self._asked, wanted
        alone.prepared = asks and self._executor.prepare(wanted=wanted)
        self._expected &= not alone.prepared
