"""The breaker: when nearly everything fails, stop pouring the queue down its ladder."""

from __future__ import annotations

from collections import deque

from streamjobs.breaker import Breaker


class BreakerState:
    """Counts a queue's outcomes in batches; open means: start nothing but a probe now and then.

    Attributes:
        policy: when it opens, and how often it probes.
        open: whether it is.
        failures: among the last outcomes; while it is open, those that opened it.
        total: the last outcomes.
    """

    def __init__(self, policy: Breaker) -> None:
        self.policy = policy
        self._batches: deque[tuple[float, int, int]] = deque()
        self.failures = self.total = 0
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
        self.failures += failures
        self.total += failures + others
        policy = self.policy
        while self._batches:
            at, failed, fine = self._batches[0]
            enough = self.total - failed - fine >= policy.outcomes
            if not enough and 0 <= now - at <= policy.within:
                break
            self._batches.popleft()
            self.failures -= failed
            self.total -= failed + fine
        if self.total >= policy.outcomes and self.failures >= policy.share * self.total:
            self.open = True
            self._next_probe = now + policy.probe_every

    def probe(self, now: float) -> bool:
        """Whether one job may be tried now; asking uses the probe up."""
        if now < self._next_probe and self._next_probe - now <= self.policy.probe_every:
            return False
        self._next_probe = now + self.policy.probe_every
        return True

    def _forget(self) -> None:
        self._batches.clear()
        self.failures = self.total = 0
