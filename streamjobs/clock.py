"""The one place that reads the clock. What decides is handed ``now``."""

from __future__ import annotations

import re
import time

from streamjobs.errors import DefinitionError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def wall() -> float:
    """Seconds since the epoch, as brokers stamp records; may jump."""
    return time.time()


def monotonic() -> float:
    """Seconds from an arbitrary start; never goes back."""
    return time.monotonic()


def parse_duration(value: str | float) -> float:
    """Return ``"250ms"``, ``"10s"``, ``"2h"``, ``"7d"`` or a number of seconds, in seconds.

    Raises:
        DefinitionError: when the text is no duration, or it is negative or not finite.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise DefinitionError(
                f"{value!r} is no duration: write '250ms', '10s', '5m', '2h' or '7d'"
            )
        return float(match[1]) * _UNITS[match[2]]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise DefinitionError(f"{value!r} is no duration: seconds must be a number >= 0")
    return float(value)


def format_duration(seconds: float) -> str:
    """Return the shortest name of a duration, as topics carry it: 60 gives ``1m``.

    Raises:
        DefinitionError: when it is not a whole number of milliseconds.
    """
    milliseconds = round(seconds * 1000)
    if abs(milliseconds - seconds * 1000) > 1e-6:
        raise DefinitionError(f"{seconds!r} s is no whole number of milliseconds")
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
