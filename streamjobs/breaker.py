"""When a queue pauses itself, since nearly everything fails: the policy."""

from __future__ import annotations

from dataclasses import dataclass

from streamjobs.clock import parse_duration
from streamjobs.errors import DefinitionError

MOST_OUTCOMES = 1_000_000


@dataclass(frozen=True, init=False)
class Breaker:
    """A worker's queue pauses when ``share`` of its last ``outcomes`` are failures.

    Instead of all going down the ladder, one job is then tried every ``probe_every``; when one
    succeeds, all run again. A failure is an attempt that the ladder would try again; what a handler
    decides (``Discard``, ``DeadLetter``) is none. Each worker counts for itself.

    Attributes:
        share: of the outcomes that have to be failures; above 0, at most 1.
        outcomes: how many of the last ones count; 1 to 1,000,000.
        within: seconds in which they must have come: a quiet queue never pauses.
        probe_every: seconds between single tries.

    Raises:
        DefinitionError: a value that is none of these.
    """

    share: float = 0.9
    outcomes: int = 200
    within: float = 60.0
    probe_every: float = 5.0

    def __init__(
        self,
        *,
        share: float = 0.9,
        outcomes: int = 200,
        within: str | float = "60s",
        probe_every: str | float = "5s",
    ) -> None:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise DefinitionError(
                f"breaker share={share!r}: which part of the outcomes has to be failures, "
                "must be above 0 and at most 1"
            )
        if (
            isinstance(outcomes, bool)
            or not isinstance(outcomes, int)
            or not 1 <= outcomes <= MOST_OUTCOMES
        ):
            raise DefinitionError(
                f"breaker outcomes={outcomes!r}: how many of the last outcomes count, "
                f"must be 1 to {MOST_OUTCOMES:,}"
            )
        object.__setattr__(self, "share", float(share))
        object.__setattr__(self, "outcomes", outcomes)
        object.__setattr__(self, "within", _seconds("within", within))
        object.__setattr__(self, "probe_every", _seconds("probe_every", probe_every))


def _seconds(name: str, value: str | float) -> float:
    try:
        seconds = parse_duration(value)
    except (DefinitionError, TypeError) as error:
        raise DefinitionError(f"breaker {name}={value!r}: write '5s', or seconds") from error
    if seconds < 0.001:
        raise DefinitionError(f"breaker {name}={value!r}: must be at least 1ms")
    return seconds


DEFAULT_BREAKER = Breaker()
