"""When a failed job is tried again: the policy, and which tier its next wait is in."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise

from streamjobs.clock import format_duration, parse_duration
from streamjobs.errors import DefinitionError

DEFAULT_DELAYS = ("1s", "10s", "1m")
# Tries at once hold their lane and their thread; more than this is a loop, not a retry.
MOST_IMMEDIATE = 100


@dataclass(frozen=True, init=False)
class Retry:
    """A ladder of delays: after failure ``n`` the job waits ``delays[n - 1]``, then is tried again.

    Of its attempts the first ``1 + immediate`` are made at once one after the other, in its place,
    without a topic. After the last rung it is dead, so a job has ``1 + immediate + len(delays)``
    attempts; fewer where ``RetryAfter`` asks for a wait among the first, which uses a rung.

    Attributes:
        delays: seconds, ascending, each in a topic of its own; empty: no waits.
        immediate: 0 to 100.

    Raises:
        DefinitionError: delays that are no durations, not ascending, or no whole milliseconds; or
            ``immediate`` is no such number.
    """

    delays: tuple[float, ...] = field(default=())
    immediate: int = 0

    def __init__(
        self,
        delays: tuple[str | float, ...] | list[str | float] = DEFAULT_DELAYS,
        *,
        immediate: int = 0,
    ) -> None:
        if (
            isinstance(immediate, bool)
            or not isinstance(immediate, int)
            or not 0 <= immediate <= MOST_IMMEDIATE
        ):
            raise DefinitionError(
                f"retry immediate={immediate!r}: how many tries a failed job gets at once, "
                f"must be 0 to {MOST_IMMEDIATE}"
            )
        if not isinstance(delays, tuple | list):
            raise DefinitionError(
                f'retry delays={delays!r}: must be a tuple of delays, such as ("1s", "10s", "1m")'
            )
        seconds = tuple(parse_duration(delay) for delay in delays)
        for each in seconds:
            format_duration(each)  # the name of its topic; it refuses parts of a millisecond
        if any(s < 0.001 for s in seconds):
            raise DefinitionError(f"retry delays {delays!r}: each must be at least 1ms")
        if any(a >= b for a, b in pairwise(seconds)):
            raise DefinitionError(
                f"retry delays {delays!r} must ascend: each is a topic of its own, "
                "and a job climbs from the shortest to the longest"
            )
        object.__setattr__(self, "delays", seconds)
        object.__setattr__(self, "immediate", immediate)


def next_tier(rung: int, retry_after: float | None, tiers: tuple[float, ...]) -> int | None:
    """Choose the tier that a failed job waits in, or None when its ladder is used up.

    Args:
        rung: how many rungs it has used already (0 for a first failure).
        retry_after: seconds asked for by ``RetryAfter``, or None.
        tiers: the delays of the tiers that exist, in seconds, ascending.

    Returns:
        An index into ``tiers``. ``RetryAfter`` waits in the shortest tier that is at least as
        long as asked, else in the longest; either way one rung is used.
    """
    if rung >= len(tiers):
        return None
    if retry_after is None:
        return rung
    return min(bisect_left(tiers, retry_after), len(tiers) - 1)
