"""What is known of crashes whose cause was not found, as it stands beside a committed offset.

A worker that vanishes leaves suspects: jobs that it may have been running. Its successor runs them
in child processes; should it vanish too, the one after it tries them one at a time, each under a
mark that is committed before it begins. So whoever finds the mark knows which job was running alone
when a worker vanished, and how often that has happened.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CLEAN, DIRTY, DOUBT = "clean", "dirty", "doubt"
# Beside these stand records and their counts: of one tried now, the first; of none tried now.
ALONE, CRASHED = "alone", "crashed"
# Records that are told with their crashes; of more those with the fewest are forgotten.
MARKS = 4
# A count has one digit: a job is dead at its third crash.
_MARKS = re.compile(rf"(alone|crashed)((?::\d{{1,19}}:[1-9]){{1,{MARKS}}})", re.ASCII)
_OFFSET_MAX = (1 << 63) - 1

Crashes = tuple[tuple[int, int], ...]


class Suspicion(NamedTuple):
    """What an owner has to tell of one partition.

    Attributes:
        doubt: whether it took the partition from one that vanished, and has not cleared the jobs
            that may have been running.
        crashes: how often a worker has vanished while it tried a record alone, by offset, as pairs;
            one that is being tried counts one more.
        trying: whether the first of those is being tried.
    """

    doubt: bool = False
    crashes: Crashes = ()
    trying: bool = False

    @property
    def word(self) -> str:
        """As it is written."""
        if not self.crashes:
            return DOUBT if self.doubt else DIRTY
        pairs = (f":{offset}:{count}" for offset, count in self.crashes)
        return (ALONE if self.trying else CRASHED) + "".join(pairs)

    def of(self, offset: int) -> int:
        """How often the record at ``offset`` is told to have ended its worker."""
        return next((count for at, count in self.crashes if at == offset), 0)

    def tries(self, offset: int) -> Suspicion:
        """Have the record at ``offset`` tried: should the worker vanish, it is one more."""
        others = [pair for pair in self.crashes if pair[0] != offset]
        others.sort(key=lambda pair: -pair[1])
        mark = (offset, min(self.of(offset) + 1, 9))
        return Suspicion(self.doubt, (mark, *others[: MARKS - 1]), trying=True)

    def forgives(self) -> Suspicion:
        """Its try ended nothing: as if it had not begun."""
        if not self.trying:
            return self
        (offset, count), *others = self.crashes
        left = [(offset, count - 1)] if count > 1 else []
        return Suspicion(self.doubt, (*left, *others))

    def without(self, offset: int) -> Suspicion:
        """The record at ``offset`` is complete, or was never tried."""
        kept = tuple(pair for pair in self.crashes if pair[0] != offset)
        trying = self.trying and kept[:1] == self.crashes[:1]
        return Suspicion(self.doubt, kept, trying)

    def rests(self) -> Suspicion:
        """As the next owner tells it before it tries anything itself: counted, and not again."""
        return Suspicion(self.doubt, self.crashes)


NO_SUSPICION = Suspicion()


def read_suspicion(word: str) -> Suspicion | None:
    """Read what ``Suspicion.word`` wrote, or ``clean``; None when it is no such thing."""
    if word in {CLEAN, DIRTY}:
        return Suspicion()
    if word == DOUBT:
        return Suspicion(doubt=True)
    match = _MARKS.fullmatch(word)
    if match is None:
        return None
    numbers = [int(digits) for digits in match[2].split(":")[1:]]
    offsets = numbers[::2]
    if max(offsets) > _OFFSET_MAX or len(set(offsets)) < len(offsets):
        return None
    crashes = tuple(zip(offsets, numbers[1::2], strict=True))
    return Suspicion(doubt=True, crashes=crashes, trying=match[1] == ALONE)
