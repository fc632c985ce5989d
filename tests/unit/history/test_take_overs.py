"""Of which kills it is known how long their partitions stood still."""

from __future__ import annotations

import pytest
from history.model import Gap, Hit
from history.take_overs import INSIDE, measured, take_overs
from unit.history.scenes import a_slow_take_over, fresh, ns, rules, sound


@pytest.mark.parametrize("point", ["loop.revoked", "loop.drained", "loop.lost"])
def test_a_partition_that_was_given_away_before_is_not_taken_over(point: str) -> None:
    scene = sound()
    a_slow_take_over(scene)
    assert measured(scene.history)["take-overs"] == 1

    scene.hit(point, 5.2)

    assert rules(fresh(scene.history)) == set()
    assert measured(fresh(scene.history))["take-overs"] == 0


def test_nor_is_one_of_a_worker_that_had_slept_through_its_session() -> None:
    scene = sound()
    a_slow_take_over(scene)
    scene.history.processes[1].halts.append((ns(5.1), ns(8)))
    scene.history.processes[1].killed = ns(8.1)

    assert list(take_overs(scene.history)) == []


@pytest.mark.parametrize(
    ("hit", "inside"),
    [
        (("txn.offsets-sent", "kill"), True),
        (("txn.produced", "kill"), True),
        (("txn.begun", "kill"), False),
        (("txn.produced", "-"), False),
    ],
)
def test_a_death_between_what_a_transaction_writes_and_its_commit_is_told_apart(
    hit: tuple[str, str], inside: bool
) -> None:
    scene = sound()
    a_slow_take_over(scene)
    name, action = hit
    scene.history.hits.append(Hit(name, 101, ns(5.5), action))

    assert [t.inside for t in take_overs(scene.history)] == [inside]
    assert measured(scene.history)[INSIDE] == inside


def test_a_take_over_amid_other_faults_may_take_longer() -> None:
    scene = sound()
    a_slow_take_over(scene)
    scene.fault(8)

    assert rules(scene.history) == set()


def test_a_fault_after_a_take_over_was_due_excuses_nothing() -> None:
    scene = sound()
    a_slow_take_over(scene)
    scene.fault(13.55)

    assert rules(scene.history) == {"liveness"}


def test_an_open_transaction_may_hold_a_take_over_up_while_that_is_known() -> None:
    scene = sound()
    a_slow_take_over(scene)
    scene.history.gaps = frozenset({Gap.OPEN_TRANSACTIONS})

    assert rules(scene.history) == set()
