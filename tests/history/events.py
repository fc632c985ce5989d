"""What workers and producers note while a campaign runs: fixed-size events, one write each.

A write to a file opened with O_APPEND is in the kernel when it returns: it survives the SIGKILL of
the process that made it. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from pathlib import Path
from uuid import UUID


class Kind(IntEnum):
    """What happened."""

    ENQUEUED = 1  # acknowledged: the log has it
    STARTED = 2  # an attempt began
    ENDED = 3  # an attempt ended
    KILLED = 4  # an attempt is about to kill the process it runs in


class Outcome(IntEnum):
    """What an attempt came to, as its handler saw it."""

    NONE = 0
    SUCCEEDED = 1
    FAILED = 2  # to be tried again
    DISCARDED = 3
    DEAD = 4  # the last attempt, or given up


Run = tuple[Outcome, int, int]  # outcome, attempt, serial
NO_RUN: Run = (Outcome.NONE, 0, 0)
FINAL = frozenset({Outcome.SUCCEEDED, Outcome.DISCARDED, Outcome.DEAD})

# kind, outcome, attempt, pid, incarnation, serial, time in ns, job id, key, partition, offset
_FORM = struct.Struct("<BBHIIIQ16s16siq")
SIZE = _FORM.size


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        kind: what.
        outcome: of an attempt that ended; of one that kills its process: what it comes to if that
            is a child, whose parent sees it.
        attempt: which, from 1.
        pid: of the process.
        worker: the incarnation: which process of the campaign, from 1; 0 is a producer.
        serial: pairs an attempt's end with its start; unique in its process.
        at: nanoseconds of the monotonic clock.
        job: the job's id.
        key: its ordering key, 16 bytes at most.
        partition, offset: where an enqueued job lies in main, else -1.
    """

    kind: Kind
    outcome: Outcome
    attempt: int
    pid: int
    worker: int
    serial: int
    at: int
    job: str
    key: str
    partition: int
    offset: int

    def pack(self) -> bytes:
        """The event as ``SIZE`` bytes."""
        return _FORM.pack(
            self.kind, self.outcome, self.attempt, self.pid, self.worker, self.serial, self.at,
            UUID(self.job).bytes, self.key.encode(), self.partition, self.offset,
        )  # fmt: skip

    @classmethod
    def unpack(cls, raw: bytes) -> Event:
        """Read it back."""
        kind, outcome, attempt, pid, worker, serial, at, job, key, partition, offset = _FORM.unpack(
            raw
        )
        return cls(
            Kind(kind), Outcome(outcome), attempt, pid, worker, serial, at,
            str(UUID(bytes=job)), key.rstrip(b"\0").decode(), partition, offset,
        )  # fmt: skip


class Journal:
    """A file that one process appends events to, from any thread.

    Args:
        path: of the file.
        worker: the incarnation that writes.
    """

    def __init__(self, path: str | Path, worker: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._worker, self._serials, self._lock = worker, count(1), threading.Lock()

    def enqueued(self, job: str, key: str, partition: int, offset: int) -> None:
        """The log has acknowledged a job."""
        self._write(Kind.ENQUEUED, job, key, place=(partition, offset))

    def started(self, job: str, key: str, attempt: int) -> int:
        """An attempt begins; its serial is for ``ended``."""
        with self._lock:
            serial = next(self._serials)
        self._write(Kind.STARTED, job, key, (Outcome.NONE, attempt, serial))
        return serial

    def ended(self, job: str, key: str, attempt: int, serial: int, outcome: Outcome) -> None:
        """It ends."""
        self._write(Kind.ENDED, job, key, (outcome, attempt, serial))

    def killed(self, job: str, key: str, attempt: int, serial: int, outcome: Outcome) -> None:
        """It kills its process now."""
        self._write(Kind.KILLED, job, key, (outcome, attempt, serial))

    def _write(
        self, kind: Kind, job: str, key: str, run: Run = NO_RUN, place: tuple[int, int] = (-1, -1)
    ) -> None:
        outcome, attempt, serial = run
        now, pid = time.monotonic_ns(), os.getpid()
        event = Event(kind, outcome, attempt, pid, self._worker, serial, now, job, key, *place)
        os.write(self._file, event.pack())


def read_events(path: Path, *, growing: bool = False) -> Iterator[Event]:
    """Yield the events of a file in the order in which they were written.

    Args:
        path: of the file; none holds no events.
        growing: whether it is still written to: then its last event may be half there.

    Raises:
        ValueError: it does not hold whole events: then a write was not one write.
    """
    raw = path.read_bytes() if path.exists() else b""
    if len(raw) % SIZE and not growing:
        raise ValueError(f"{path}: {len(raw)} bytes are no whole events of {SIZE}")
    whole = len(raw) // SIZE * SIZE
    return (Event.unpack(raw[at : at + SIZE]) for at in range(0, whole, SIZE))
