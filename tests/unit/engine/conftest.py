from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder

# The driver is a plain module beside the tests; importmode=importlib adds no folder to the path.
sys.path.insert(0, str(Path(__file__).parent))

from drive import LONG, MAIN, SHORT, TOPICS, Driver, own


@pytest.fixture
def make_driver() -> Callable[..., Driver]:
    def make(
        *, capacity: int = 100, writes: tuple[float, ...] = (1.0, 10.0), **more: Any
    ) -> Driver:
        ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, writes, {MAIN: "T"}, **more)
        return Driver(Engine(ladder, capacity=capacity))

    return make


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    made = make_driver()
    own(made.engine, 0)
    return made
