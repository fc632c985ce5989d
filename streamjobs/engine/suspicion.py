"""What is known of crashes whose cause was not found, as it stands beside a committed offset.

A worker that vanishes leaves suspects: jobs that it may have been running. Which of those that it
had in hand they are is not known, so its successor runs some of them in child processes: as much as
may have been running, if they run in the same order. Should it vanish too before all that was in
hand has ended, the one after it runs four times as much of it so, and so on: a job that ends
workers is among them soon, and a few deaths from another cause cost little. From the fourth on some
are tried one at a time first, each under a mark that is committed before it begins. So whoever
finds the mark knows which job was running alone when a worker vanished, and how often that has
happened.
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
# Behind the states without marks: how many owners have vanished in a row.
_ROUNDS = re.compile(rf"({CLEAN}|{DIRTY}|{DOUBT}):([1-9])", re.ASCII)
# Owners in a row that have vanished before suspects are tried one at a time, which is slow: brokers
# and machines take down two or three in a row as well.
ALONE_FROM = 4
MOST_ROUNDS = 9
_OFFSET_MAX = (1 << 63) - 1

Crashes = tuple[tuple[int, int], ...]


class Suspicion(NamedTuple):
    """What an owner has to tell of one partition.

    Attributes:
        doubt: whether jobs that may have been running when an owner vanished are not cleared.
        crashes: how often a worker has vanished while it tried a record alone, by offset, as pairs;
            one that is being tried counts one more.
        trying: whether the first of those is being tried.
        rounds: how many owners have vanished since all that may have been running had ended; those
            that gave the partition back in between do not count.
    """

    doubt: bool = False
    crashes: Crashes = ()
    trying: bool = False
    rounds: int = 0

    @property
    def word(self) -> str:
        """As it is written."""
        if not self.crashes:
            return self._rounds(DOUBT if self.doubt else DIRTY)
        pairs = (f":{offset}:{count}" for offset, count in self.crashes)
        return (ALONE if self.trying else CRASHED) + "".join(pairs)

    @property
    def given_back(self) -> str:
        """As it is written where the partition is given back in order: no mark counts."""
        return self._rounds(CLEAN)

    def _rounds(self, state: str) -> str:
        return f"{state}:{self.rounds}" if self.rounds else state

    @property
    def growth(self) -> int:
        """How many times as much as may have been running is run apart, or tried alone."""
        beside = self.rounds < ALONE_FROM
        more: int = 4 ** max(0, self.rounds - (1 if beside else ALONE_FROM))
        return more

    def of(self, offset: int) -> int:
        """How often the record at ``offset`` is told to have ended its worker."""
        return next((count for at, count in self.crashes if at == offset), 0)

    def tries(self, offset: int) -> Suspicion:
        """Have the record at ``offset`` tried: should the worker vanish, it is one more."""
        others = [pair for pair in self.crashes if pair[0] != offset]
        others.sort(key=lambda pair: -pair[1])
        mark = (offset, min(self.of(offset) + 1, 9))
        return self._replace(crashes=(mark, *others[: MARKS - 1]), trying=True)

    def forgives(self) -> Suspicion:
        """Its try ended nothing: as if it had not begun."""
        if not self.trying:
            return self
        (offset, count), *others = self.crashes
        left = [(offset, count - 1)] if count > 1 else []
        return self._replace(crashes=(*left, *others), trying=False)

    def without(self, offset: int) -> Suspicion:
        """The record at ``offset`` is complete, or was never tried."""
        kept = tuple(pair for pair in self.crashes if pair[0] != offset)
        trying = self.trying and kept[:1] == self.crashes[:1]
        return self._replace(crashes=kept, trying=trying)

    def rests(self) -> Suspicion:
        """As the next owner tells it before it tries anything itself: counted, and not again."""
        return self._replace(trying=False)


NO_SUSPICION = Suspicion()


def read_suspicion(word: str) -> Suspicion | None:
    """Read what ``Suspicion.word`` wrote, or ``clean``; None when it is no such thing."""
    if word in {CLEAN, DIRTY}:
        return Suspicion()
    if (match := _ROUNDS.fullmatch(word)) is not None:
        return Suspicion(doubt=match[1] == DOUBT, rounds=int(match[2]))
    match = _MARKS.fullmatch(word)
    if match is None:
        return None
    numbers = [int(digits) for digits in match[2].split(":")[1:]]
    offsets = numbers[::2]
    if max(offsets) > _OFFSET_MAX or len(set(offsets)) < len(offsets):
        return None
    crashes = tuple(zip(offsets, numbers[1::2], strict=True))
    trying = match[1] == ALONE
    return Suspicion(doubt=True, crashes=crashes, trying=trying, rounds=ALONE_FROM)
