"""What a loop has done so far, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a loop has done so far, for the closing report."""

    outcomes: Counter[str] = field(default_factory=Counter)
    first: float | None = None
    last: float | None = None

    def begin(self, now: float) -> None:
        """A record was received: the first one is when it began."""
        if self.first is None:
            self.first = now

    def add(self, counts: Mapping[tuple[str, str], int], now: float) -> None:
        """Count outcomes, given by job name and outcome."""
        self.last = now
        for (_, outcome), count in counts.items():
            self.outcomes[outcome] += count

    @property
    def seconds(self) -> float:
        """From the first record received to the last outcome."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first
