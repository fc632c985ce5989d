from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.engine.drive import LONG, SHORT, TOPICS, Driver, own

from streamjobs.engine.engine import Engine, Ladder


@pytest.fixture
def make_driver() -> Callable[..., Driver]:
    def make(*, capacity: int = 100, writes: tuple[float, ...] = (1.0, 10.0)) -> Driver:
        ladder = Ladder(TOPICS, {SHORT: 1.0, LONG: 10.0}, writes)
        return Driver(Engine(ladder, topic_id="T", capacity=capacity))

    return make


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    made = make_driver()
    own(made.engine, 0)
    return made
