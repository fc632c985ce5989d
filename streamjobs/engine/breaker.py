"""The breaker: when nearly everything fails, stop pouring the queue down its ladder."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a queue pauses itself.

    Attributes:
        share: of the last outcomes that have to be failures.
        outcomes: how many of the last outcomes count.
        within: seconds in which they must have come.
        probe_every: seconds between single tries while it is open.
    """

    share: float = 0.9
    outcomes: int = 200
    within: float = 60.0
    probe_every: float = 5.0


class Breaker:
    """Counts a queue's outcomes in batches; open means: start nothing but a probe now and then."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._batches: deque[tuple[float, int, int]] = deque()
        self._failures = self._total = 0
        self._next_probe = 0.0
        self.open = False

    def count(self, failures: int, others: int, now: float) -> None:
        """Take in outcomes; a success closes an open breaker."""
        if self.open:
            if others:
                self.open = False
                self._forget()
            return
        self._batches.append((now, failures, others))
        self._failures += failures
        self._total += failures + others
        policy = self._policy
        while self._batches:
            at, failed, fine = self._batches[0]
            enough = self._total - failed - fine >= policy.outcomes
            if not enough and 0 <= now - at <= policy.within:
                break
            self._batches.popleft()
            self._failures -= failed
            self._total -= failed + fine
        if self._total >= policy.outcomes and self._failures >= policy.share * self._total:
            self.open = True
            self._next_probe = now + policy.probe_every

    def probe(self, now: float) -> bool:
        """Whether one job may be tried now; asking uses the probe up."""
        if now < self._next_probe and self._next_probe - now <= self._policy.probe_every:
            return False
        self._next_probe = now + self._policy.probe_every
        return True

    def _forget(self) -> None:
        self._batches.clear()
        self._failures = self._total = 0
