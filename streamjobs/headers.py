"""Delivery state: the headers that a job collects on its way through tiers and the DLQ.

They come from the outside like any bytes, so reading them never fails: what is missing, doubled,
overlong or out of range is replaced by what the record's place allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from operator import methodcaller
from typing import Any

ATTEMPT = "sj-attempt"
RUNG = "sj-rung"
CRASHES = "sj-crashes"
ORIGIN = "sj-origin"
REASON = "sj-reason"
ERROR_TYPE = "sj-error-type"
ERROR_MESSAGE = "sj-error-message"
ERROR_TRACE = "sj-error-trace"
FAILED_AT = "sj-failed-at"
WORKER = "sj-worker"
# What a job is, not what became of it: these are read on main topics too.
JOB_ID = "sj-id"
REPLAY_OF = "sj-replay-of"
REQUEUED_FROM = "sj-requeued-from"

# A forged count must not overflow what adds to it: no job makes a million attempts.
MAX_COUNT = 1_000_000
MAX_HEADERS = 100
MAX_OFFSET = 2**63 - 1
# A topic's name has at most 249 characters, an id 22; a 64-bit number 19 digits.
MAX_ORIGIN, MAX_DIGITS = 300, 19

Headers = Sequence[tuple[str, bytes | None]]

_call_headers = methodcaller("headers")
# ASCII but for colons, then two numbers.
_ORIGIN = re.compile(rb"([\x00-\x39\x3b-\x7f]*):(\d{1,%d}):(\d{1,%d})" % (MAX_DIGITS, MAX_DIGITS))


class Reason(StrEnum):
    """Why a record stands in a tier or in the DLQ."""

    FAILED = "failed"
    EXHAUSTED = "exhausted"
    CRASHED = "crashed"
    INVALID = "invalid"
    UNKNOWN_JOB = "unknown-job"
    REJECTED = "rejected"
    WAITING = "waiting"


_WAITING = Reason.WAITING.encode()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a job stood in its main topic: its place in its key's order.

    Attributes:
        topic_id: as Kafka prints topic ids; empty where the broker does not tell.
        partition: of the main topic.
        offset: of the main topic.
    """

    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic_id}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the headers of a record in a tier or the DLQ say.

    Attributes:
        attempts: how many were made.
        rung: how many rungs of the ladder were used.
        origin: None when missing or malformed.
        waiting: whether it was moved only because an earlier job of its key had not ended.
        crashes: how many of its attempts ended the process that ran them.
    """

    attempts: int
    rung: int
    origin: Origin | None
    waiting: bool = False
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in an attempt, as text."""

    type: str
    message: str
    trace: str


def headers_of(message: Any) -> Headers:
    """Return a message's headers, none where the client cannot read them.

    Anybody may write a header whose name is not UTF-8. For such a message confluent-kafka (2.16)
    returns a broken list and leaves an exception set besides. The interpreter notices that in
    most calls, and in specialised ones, so in hot loops, it does not: the process then crashes, or
    something else raises. ``methodcaller`` always looks.
    """
    try:
        return tuple(_call_headers(message) or ())
    except SystemError:
        return ()


def read_delivery(headers: Headers | None, *, rung: int) -> Delivery:
    """Read the state of a record in a tier; ``rung`` is what its tier implies when none is told."""
    found = first_values(headers)
    waiting = found.get(REASON) == _WAITING
    # What failed has made an attempt; what only waits may have made none.
    fewest = 0 if waiting else 1
    return Delivery(
        attempts=max(fewest, _count(found.get(ATTEMPT), fewest)),
        rung=_count(found.get(RUNG), 0 if waiting else rung),
        origin=read_origin(found.get(ORIGIN)),
        waiting=waiting,
        crashes=_count(found.get(CRASHES), 0),
    )


def first_values(headers: Headers | None) -> dict[str, bytes]:
    """The first value of each header among the first hundred; nulls count as not there.

    Built backwards in one go: taking a shard reads the headers of a million parked jobs.
    """
    found = dict(headers[MAX_HEADERS - 1 :: -1]) if headers else {}
    if None in found.values():
        return {name: value for name, value in found.items() if value is not None}
    return found  # type: ignore[return-value]


def read_place(headers: Headers | None) -> tuple[tuple[str, int, int] | None, bool]:
    """Read no more of a record in a tier than its order needs, at half of the cost.

    Returns:
        Its origin's topic id, partition and offset, or None; and whether it only waits.
    """
    found = first_values(headers)
    return _origin(found.get(ORIGIN)), found.get(REASON) == _WAITING


def read_origin(value: bytes | None) -> Origin | None:
    """Read ``TOPICID:PARTITION:OFFSET``, or None when it is no such thing."""
    found = _origin(value)
    return None if found is None else Origin(*found)


def _origin(value: bytes | None) -> tuple[str, int, int] | None:
    if value is None or len(value) > MAX_ORIGIN or (match := _ORIGIN.fullmatch(value)) is None:
        return None
    topic_id, partition, offset = match.groups()
    place = int(offset)
    return None if place > MAX_OFFSET else (topic_id.decode("ascii"), int(partition), place)


def write_move(
    *, delivery: Delivery, reason: Reason, failure: Failure | None, failed_at_ms: int, worker: str
) -> list[tuple[str, bytes]]:
    """The headers of a record that is moved to a tier or the DLQ."""
    headers = [
        (ATTEMPT, b"%d" % delivery.attempts),
        (RUNG, b"%d" % delivery.rung),
        (REASON, reason.encode()),
        (FAILED_AT, b"%d" % failed_at_ms),
        (WORKER, worker.encode()),
    ]
    if delivery.crashes:
        headers.append((CRASHES, b"%d" % delivery.crashes))
    if delivery.origin is not None:
        headers.append((ORIGIN, str(delivery.origin).encode()))
    if failure is not None:
        headers += [
            (ERROR_TYPE, failure.type.encode("utf-8", "replace")),
            (ERROR_MESSAGE, failure.message.encode("utf-8", "replace")),
            (ERROR_TRACE, failure.trace.encode("utf-8", "replace")),
        ]
    return headers


def write_requeue(headers: Headers, dead: Origin) -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter that is put back into main: as if it were new.

    Attempts, origin and errors stay behind. A replay keeps its id, which the value does not tell.

    Args:
        headers: of the dead letter.
        dead: its place in the DLQ.
    """
    kept = first_values(headers)
    ours: list[tuple[str, bytes | None]] = [(REQUEUED_FROM, str(dead).encode())]
    ours += [(name, kept[name]) for name in (JOB_ID, REPLAY_OF) if name in kept]
    return [*ours, *foreign(headers)]


def foreign(headers: Headers | None) -> Iterable[tuple[str, bytes | None]]:
    """The headers that are not ours, a hundred at most: they travel on unchanged."""
    theirs = ((n, v) for n, v in headers or () if not n.startswith("sj-"))
    return islice(theirs, MAX_HEADERS)


def _count(value: bytes | None, default: int) -> int:
    number = None if value is None else _number(value)
    return default if number is None else min(number, MAX_COUNT)


def _number(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) <= MAX_DIGITS else None
