"""What a commit says beside the offset: which offsets above it are complete, and by whom it is.

A committed offset alone tells the next owner too little: above it jobs have ended or have been
carried on, and must not run again. Kafka keeps a text with each committed offset, 4,096 bytes at
most (``offset.metadata.max.bytes``), which whoever takes the partition reads. Ours is

    sj1 STATE TRANSACTIONAL-ID TOPIC-ID EPOCH UPTO RUNS

in ASCII, ``-`` for what is unknown. ``STATE`` is ``clean`` where the partition was given back in
order, else what is suspected (``suspicion``): ``dirty`` for nothing, ``doubt:N``,
``alone:OFFSET:COUNT`` or ``crashed:OFFSET:COUNT``, the last two with some more pairs; ``clean:N``
and ``dirty:N`` where some suspects have not ended. ``RUNS`` are lengths of stretches of offsets,
the first incomplete, the second complete and so on, from the committed offset to ``UPTO``, as
variable-length integers (LEB128), deflated, base64. Foreign text is not an error: it says nothing.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from streamjobs.engine.suspicion import (
    ALONE_FROM,
    CLEAN,
    MOST_ROUNDS,
    NO_SUSPICION,
    Suspicion,
    read_suspicion,
)

VERSION = "sj1"
UNKNOWN = NOTHING = "-"
# What brokers keep by default (offset.metadata.max.bytes), and what a text may need.
TEXT_MAX = 4_096
# Room for RUNS in bytes of text: three quarters of what the broker takes; the rest is for names.
ROOM = 3_072
# A text that is said to grow beyond this when unpacked is not ours.
_UNPACKED_MAX = 1 << 20
_OFFSET_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Above:
    """Which offsets from a committed one on are complete.

    Attributes:
        bounds: ascending offsets at which it changes, an odd number of them: incomplete from the
            first (the committed offset) on, complete from the second on, and so on; incomplete
            again from the last on. None: all is incomplete.
    """

    bounds: tuple[int, ...] = ()

    @property
    def upto(self) -> int:
        """Where knowledge ends: everything from here on is incomplete."""
        return self.bounds[-1] if self.bounds else 0

    def complete(self, offset: int) -> bool:
        """Whether the record at ``offset`` is complete."""
        return offset < self.upto and bisect_right(self.bounds, offset) % 2 == 0

    def next_incomplete(self, offset: int) -> int:
        """The lowest incomplete offset from ``offset`` on."""
        return self.bounds[bisect_right(self.bounds, offset)] if self.complete(offset) else offset

    def cut(self, offset: int) -> Above:
        """What is left when nothing counts from ``offset`` on."""
        bounds = self.bounds[: bisect_right(self.bounds, offset - 1)]
        return Above(bounds if len(bounds) % 2 else (*bounds, offset))

    def stretches(self, start: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches of incomplete offsets from ``start`` on; the last has no end."""
        start = self.next_incomplete(start)
        index = bisect_right(self.bounds, start)
        while index < len(self.bounds):
            yield start, self.bounds[index]
            start = self.bounds[index + 1]
            index += 2
        yield start, _OFFSET_MAX


@dataclass(frozen=True, slots=True)
class Metadata:
    """What stands beside a committed offset.

    Attributes:
        clean: whether its owner gave the partition back in order; else jobs may have been running.
        transactional_id: of the producer whose transactions may hold the partition's offsets up.
        topic_id: of the topic that it is about; another topic of the same name is another topic.
        epoch: the leader epoch of the last record that was received; None: unknown.
        above: which offsets above the committed one are complete.
        suspicion: what its owner suspected of having ended workers.
    """

    clean: bool = False
    transactional_id: str | None = None
    topic_id: str | None = None
    epoch: int | None = None
    above: Above = Above()
    suspicion: Suspicion = NO_SUSPICION


class Committed(NamedTuple):
    """A group's committed offset of one partition, and what stands beside it.

    Attributes:
        vanished: whether its owner was another one, who did not give it back: what that one may
            have been running is suspect.
        suspicion: what is to be told of it from now on; see ``conclude``.
        alone: whether suspects are to be tried one at a time.
    """

    offset: int
    metadata: Metadata | None = None
    vanished: bool = False
    suspicion: Suspicion = NO_SUSPICION
    alone: bool = False


class Note(NamedTuple):
    """What there is to say of one partition in a commit.

    Attributes:
        offset: the one to commit.
        runs, upto: what ``pack`` made of the complete offsets above it.
        whole: whether all of them fit.
        topic_id, epoch, suspicion: as in ``Metadata``.
    """

    offset: int
    runs: str
    upto: int
    whole: bool
    topic_id: str | None
    epoch: int | None
    suspicion: Suspicion = NO_SUSPICION

    def same(self, other: Note | None) -> bool:
        """Whether the other one tells the same of the same offsets."""
        return other is not None and (self.offset, self.runs, self.suspicion) == (
            other.offset,
            other.runs,
            other.suspicion,
        )

    def text(self, transactional_id: str | None, *, clean: bool) -> str:
        """Write it out.

        Args:
            transactional_id: of the producer that this owner uses.
            clean: whether the partition is given back in order with this commit.
        """
        told = str(self.upto) if self.runs != NOTHING else UNKNOWN
        epoch = UNKNOWN if self.epoch is None else str(self.epoch)
        names = (transactional_id or UNKNOWN, self.topic_id or UNKNOWN)
        state = self.suspicion.given_back if clean else self.suspicion.word
        return " ".join((VERSION, state, *names, epoch, told, self.runs))


def conclude(
    offset: int, metadata: Metadata | None, *, ours: bool = False, lives: bool = False
) -> Committed:
    """What a new owner makes of what it finds beside a committed offset.

    One that vanishes while it tries a record alone was ended by it, as far as anybody can tell;
    who gave the partition back, or lives and only lost it, was not.

    Args:
        offset: the committed one.
        metadata: what stands beside it.
        ours: whether the last owner was this process.
        lives: whether it is a member of the group again.
    """
    if metadata is None or (metadata.clean and not metadata.suspicion.rounds):
        return Committed(offset, metadata)
    told = metadata.suspicion
    if metadata.clean:
        # Not all that may have been running when an earlier one vanished has ended.
        return Committed(offset, metadata, vanished=True, suspicion=told._replace(doubt=True))
    found = told.forgives() if ours or lives else told.rests()
    for at, _ in found.crashes:
        if at < offset or metadata.above.complete(at):
            found = found.without(at)
    vanished = told.rounds > 0 or not ours
    rounds = told.rounds if ours or lives else min(told.rounds + 1, MOST_ROUNDS)
    if vanished:
        found = found._replace(doubt=True, rounds=max(1, rounds))
    alone = bool(found.crashes) or (found.rounds >= ALONE_FROM and not (ours or lives))
    return Committed(offset, metadata, vanished, found, alone)


def pack(bounds: Sequence[int], room: int) -> tuple[str, int]:
    """Write stretches of offsets as text, as many of them as fit.

    Args:
        bounds: as of ``Above``.
        room: how many characters there are.

    Returns:
        The text, and the offset up to which it speaks: the last bound, or less when not all of them
        fit. Nothing from there on is told to be complete.
    """
    steps = [after - before for before, after in pairwise(bounds)]
    count = len(steps)
    while True:
        text = _text(steps[:count])
        if len(text) <= room:
            return text, bounds[count] if bounds else 0
        # In proportion, one pair less at least; an even number, so that the last is a complete one.
        count = min(count - 2, count * room // len(text)) // 2 * 2


def unpack(text: str, start: int) -> Above:
    """Read what ``pack`` wrote; ``start`` is the committed offset.

    Raises:
        ValueError: it is damaged.
    """
    if text == NOTHING:
        return Above()
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(text, validate=True), _UNPACKED_MAX)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"runs of offsets: {error}") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError("runs of offsets: cut short, or too long")
    bounds = tuple(accumulate(_numbers(raw), initial=start))
    if bounds[-1] > _OFFSET_MAX or len(bounds) % 2 == 0:
        raise ValueError("runs of offsets: out of range")
    return Above(bounds)


def read(text: str | None, start: int | None) -> Metadata | None:
    """Read the text beside the committed offset ``start``; None when it is not ours or damaged.

    Where ``start`` is None it is not known, and what is complete above it is not read.
    """
    words = (text or "").split(" ")
    if len(words) != 7 or words[0] != VERSION:
        return None
    suspicion = read_suspicion(words[1])
    if suspicion is None:
        return None
    try:
        above = Above() if start is None else unpack(words[6], start)
        epoch = None if words[4] == UNKNOWN else int(words[4])
        if above.bounds and int(words[5]) != above.upto:
            return None
    except ValueError:
        return None
    names = [None if word == UNKNOWN else word for word in words[2:4]]
    clean = words[1].partition(":")[0] == CLEAN
    return Metadata(clean, names[0], names[1], epoch, above, suspicion)


def _text(steps: Sequence[int]) -> str:
    if not steps:
        return NOTHING
    raw = bytearray()
    for step in steps:
        left = step
        while left > 0x7F:
            raw.append(left & 0x7F | 0x80)
            left >>= 7
        raw.append(left)
    return base64.b64encode(zlib.compress(bytes(raw), 1)).decode("ascii")


def _numbers(raw: bytes) -> list[int]:
    numbers: list[int] = []
    value = shift = 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value == 0:
                raise ValueError("runs of offsets: an empty one")
            numbers.append(value)
            value = shift = 0
        elif shift > 63:
            raise ValueError("runs of offsets: out of range")
    if shift:
        raise ValueError("runs of offsets: cut short")
    return numbers
