"""When a copy of a job was moved from the one before it, and when that cannot be said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from history.judge import MARKED, judge
from history.model import SECOND, Fault, Gap
from unit.history.scenes import (
    MAIN,
    TIER,
    fresh,
    ns,
    rules,
    sound,
    stored,
    waiting_again_after_it_ran,
    waiting_twice_at_a_time,
    waits_again,
)


def test_what_waits_may_be_moved_on_to_wait_again() -> None:
    scene = sound()
    waits_again(scene, 2.5)
    scene.committed(2.45, 0, TIER)
    scene.committed(2.9, 0, TIER, above=(0, 1, 2))

    assert rules(scene.history) == set()


@pytest.mark.parametrize(("after", "broken"), [(-0.01, set()), (0.01, {"moves"})])
def test_the_end_of_a_transaction_is_marked_somewhat_later(after: float, broken: set[str]) -> None:
    scene = sound()
    waits_again(scene, 2.5)
    scene.committed(2.5 + 0.04 + MARKED / SECOND + after, 0, TIER)

    assert rules(scene.history) == broken


@pytest.mark.parametrize(("after", "broken"), [(-0.01, set()), (0.01, {"moves"})])
def test_it_is_marked_before_the_next_one_has_written(after: float, broken: set[str]) -> None:
    scene = sound()
    waits_again(scene, 2.5)
    scene.hit("txn.produced", 2.8)
    scene.committed(2.8 + after, 0, TIER)

    assert rules(scene.history) == broken


def test_what_was_sampled_is_told() -> None:
    scene = sound()
    waiting_twice_at_a_time(scene)

    (violation,) = judge(scene.history, {})
    assert "asked at 2.9000: offset 0, and above it changes at nothing" in violation.text


@pytest.mark.parametrize(
    "times", [(2.46, 2.49, 2.51, 2.9, 3.5), (2.49, 2.505, 2.515, 2.6, 2.7)], ids=["before", "as it"]
)
def test_a_transaction_that_ended_as_it_was_stamped_is_not_the_one_that_wrote_it(
    times: tuple[float, ...],
) -> None:
    # given one that was acknowledged and committed just before the copy was stamped, or as it was
    produced, committed, its_own, asked, ended = times
    scene = sound()
    scene.hit("txn.produced", produced)
    scene.hit("txn.committed", committed)
    # its own is committed after that, by a worker that may stand still
    scene.moved(stored(scene, MAIN, 1), TIER, 5, 2.5, 0, waiting=True, by=101)
    scene.hit("txn.produced", its_own)
    scene.committed(asked, 0, TIER)
    scene.hit("txn.committed", ended)

    assert rules(scene.history) == set()


@pytest.mark.parametrize("what", ["it is not known by whom", "a broker was away", "it died"])
def test_when_a_move_was_committed_is_not_always_known(what: str) -> None:
    scene = sound()
    waiting_twice_at_a_time(scene)
    if what == "it is not known by whom":
        copy = stored(scene, TIER, 5)
        scene.history.stored.remove(copy)
        scene.history.stored.append(replace(copy, by=None))
    elif what == "a broker was away":
        scene.history.faults.append(Fault(ns(2.1), ns(2.6), "broker 1 killed"))
    else:
        del scene.history.hits[-2:]
        scene.kill(50)

    assert rules(scene.history) == set()


def test_what_is_known_to_be_forgotten_may_wait_twice() -> None:
    scene = sound()
    waiting_again_after_it_ran(scene)
    scene.hit("loop.drained", 3.9)
    assert rules(scene.history) == {"moves"}

    scene.history.gaps = frozenset({Gap.NO_METADATA})
    assert rules(fresh(scene.history)) == set()
