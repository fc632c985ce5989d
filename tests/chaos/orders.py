"""Orders to die, or to stop, at a failpoint: dealt evenly over all of them."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from streamjobs.failpoints import POINTS

# How many of the workers have one, how many of those stop instead of dying, and how often an order
# is given that its worker did not come to carry out: something else had ended it before.
ORDERED, STOPS, TRIES = 0.65, 0.25, 3
# So many points further on begins the next seed: what a campaign carries out at least.
STEP = 6
# At which pass at the most: places that a worker passes several times a second, and others.
OFTEN, SELDOM = 2, 1
RARELY = ("loop.assigned", "loop.claimed", "loop.answered", "loop.revoked", "loop.drained",
          "cycle.dead-letters")  # fmt: skip
# These are passed by a worker that stood still before a transaction for longer than its session:
# the group does not take its offsets, it aborts, and learns that its partitions are lost.
OUTLIVED = ("txn.aborted", "loop.lost")
# So many workers of each run are told to; something else may end them before.
AT_FIRST = 2


@dataclass
class Order:
    """One order.

    Attributes:
        point: where it is carried out.
        text: for the worker's environment.
        tries: how often it was given.
    """

    point: str
    text: str
    tries: int = 0


class Orders:
    """Deals orders, beginning where the campaign of the seed before is likely to have ended.

    Args:
        seed: of the campaign.
        draw: chooses who has one, whether it is to die or to stop, and when.
    """

    def __init__(self, seed: int, draw: random.Random) -> None:
        self._draw, self._next = draw, seed * STEP
        # First of all in every run, since nothing else leads to it for certain.
        self._again = deque(Order("txn.begun", f";{self._outlive()}") for _ in range(AT_FIRST))

    def deal(self) -> Order | None:
        """Return an order for a new worker, or none."""
        if self._draw.random() > ORDERED:
            return None
        order = self._again.popleft() if self._again else self._make()
        order.tries += 1
        return order

    def take_back(self, order: Order) -> None:
        """It was not carried out: somebody else gets it."""
        if order.tries < TRIES:
            self._again.append(order)

    def _make(self) -> Order:
        point = POINTS[self._next % len(POINTS)]
        self._next += 1
        action = "stop" if self._draw.random() < STOPS else "kill"
        if point in OUTLIVED:
            return Order(point, f";{self._outlive()};{point}={action}@1")
        most = SELDOM if point in RARELY else OFTEN
        return Order(point, f";{point}={action}@{self._pass(most)}")

    def _outlive(self) -> str:
        return f"txn.begun=stop@{self._pass(OFTEN)}"

    def _pass(self, most: int) -> int:
        return self._draw.randint(1, most)
