from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.simulator.parts import load


@pytest.fixture(autouse=True)
def limits_as_they_were() -> Iterator[None]:
    """Histories are played with small limits, in the very modules that other tests use."""
    yield
    load().shrink(small=False)
