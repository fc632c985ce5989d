from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.engine.drive import LONG, MAIN, SHORT, TOPICS, Driver, own

from streamjobs.breaker import Breaker
from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder


@pytest.fixture
def make_driver() -> Callable[..., Driver]:
    def make(
        *,
        capacity: int = 100,
        writes: tuple[float, ...] = (1.0, 10.0),
        breaker: Breaker | None = None,
        **more: Any,
    ) -> Driver:
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, writes, {MAIN: "T"}, **more)
        return Driver(Engine(ladder, capacity=capacity, breaker=breaker))

    return make


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    made = make_driver()
    own(made.engine, 0)
    return made
