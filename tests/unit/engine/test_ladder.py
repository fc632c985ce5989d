"""Which tier is chosen to wait in."""

from __future__ import annotations

import pytest
from unit.engine.drive import MAIN, TOPICS

from streamjobs.engine.ladder import Ladder, Ordering


@pytest.mark.parametrize(
    ("seconds", "delay"),
    [
        (0.0, 1.0),
        (0.4, 1.0),
        (1.0, 1.0),
        (1.5, 1.0),
        (5.0, 10.0),
        (9.0, 10.0),
        (11.0, 10.0),
        (1_000.0, 10.0),
        (2_000.0, 3_600.0),
        (9_999.0, 3_600.0),
    ],
)
def test_one_waits_at_most_twice_as_long_as_is_wanted(seconds: float, delay: float) -> None:
    ladder = Ladder(TOPICS, (MAIN,), {}, (1.0, 10.0, 3_600.0))

    assert ladder.wait(seconds) == delay


def test_without_tiers_and_in_one_line_one_waits_in_place() -> None:
    assert Ladder(TOPICS, (MAIN,), {}, ()).wait(1.0) is None
    line = Ladder(TOPICS, (MAIN,), {}, (1.0,), ordering=Ordering.PARTITION)
    assert line.wait(1.0) is None
