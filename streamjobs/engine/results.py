"""What an attempt can come to, and what is decided from it: two closed sets.

An executor reports a *result*; the engine turns it into an *outcome*, before any side effect, in
one place. The commonest result, success without children, is ``None``: it is the hot path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamjobs.headers import Failure, Reason


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned, and enqueued child jobs to be sent with its completion."""

    children: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed and the ladder decides.

    Attributes:
        failure: what went wrong.
        retry_after: seconds the handler asked for, or None for the ladder's own.
        reason: why it waits in a tier.
        final: why it is dead when the ladder is used up.
    """

    failure: Failure
    retry_after: float | None = None
    reason: Reason = Reason.FAILED
    final: Reason = Reason.EXHAUSTED


@dataclass(frozen=True, slots=True)
class Rejected:
    """No further attempt can help, or the handler wants none."""

    failure: Failure
    reason: Reason


@dataclass(frozen=True, slots=True)
class Crashed:
    """The process that ran the attempt ended before it had a result: seen, not inferred.

    Attributes:
        status: its exit code, or a signal's number, negative.
        failure: the same in words.
    """

    status: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class Condemned:
    """It was not run: workers have vanished while they tried it, and it gets no further attempt.

    Attributes:
        failure: the same in words.
    """

    failure: Failure


@dataclass(frozen=True, slots=True)
class Discarded:
    """The handler ended the job without success and without a dead letter."""


@dataclass(frozen=True, slots=True)
class Released:
    """The job was not run to its end: no attempt is used.

    Attributes:
        begun: whether it was begun at all; what was only given back is no attempt to be counted.
    """

    begun: bool = False


Result = Succeeded | Failed | Crashed | Condemned | Rejected | Discarded | Released
RELEASED = Released()
INTERRUPTED = Released(begun=True)
DISCARDED = Discarded()


class Outcome(StrEnum):
    """What an attempt came to, as metrics name it."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    DEAD = "dead"
    DISCARDED = "discarded"
    RELEASED = "released"
