from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamjobs.engine.engine import Engine, Ladder

# The driver is a plain module beside the tests; importmode=importlib adds no folder to the path.
sys.path.insert(0, str(Path(__file__).parent))

from drive import LONG, SHORT, TOPICS, Driver, own


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
