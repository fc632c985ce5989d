"""What a campaign prints, and what makes it void."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from chaos.fleet import RARE, Fleet
from chaos.verdict import NEEDED, NEEDED_IN_ALL, STORIES, known_gaps, report
from history.judge import Violation, judge, vacuous
from history.model import Gap
from unit.history.scenes import A, sound

from streamjobs.failpoints import POINTS, Failpoints


def test_a_report_has_totals_faults_and_the_stories_of_a_few_violations() -> None:
    scene = sound()
    scene.fault(5)
    many = [Violation("order", f"case {n}", A) for n in range(STORIES + 3)]

    text = report(scene.history, many, 50.0, [6.25, 1.0])

    assert "  jobs: 3\n" in text
    assert "stood still: 1.0 6.2" in text
    assert "5.0000 something" in text
    assert text.count("BROKEN order: case") == STORIES
    assert text.count("producer enqueued at [0]@0") == STORIES


def test_every_failpoint_is_needed_twenty_times_but_for_what_may_never_happen() -> None:
    wanted = {f"hit {name}" for name in POINTS if name not in RARE}
    assert {name for name in NEEDED_IN_ALL if name.startswith("hit ")} == wanted
    assert all(NEEDED_IN_ALL[name] == 20 for name in wanted)

    nineteen = Counter(dict.fromkeys(NEEDED_IN_ALL, 20)) - Counter({"hit txn.begun": 1})
    assert [v.text for v in vacuous(nineteen, NEEDED_IN_ALL)] == [
        "hit txn.begun: 19, and at least 20 are needed"
    ]


@pytest.mark.parametrize("name", ["kills", "stops", "rebalances", "retries", "dead", "poison"])
def test_a_run_without_it_is_void(name: str) -> None:
    enough = Counter(NEEDED)
    assert list(vacuous(enough, NEEDED)) == []

    enough[name] = 0
    assert [v.rule for v in vacuous(enough, NEEDED)] == ["vacuous"]


def test_all_known_gaps_are_excused_unless_the_campaign_is_strict() -> None:
    assert known_gaps() <= set(Gap)
    assert judge(sound().history, {}) == []


def test_orders_to_die_are_ones_that_workers_understand(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {}, random.Random(1), 6.0)

    orders = {fleet._order() for _ in range(300)}

    assert "" in orders
    assert {order.partition("=")[0] for order in orders - {""}} == {
        f";{name}" for name in POINTS if name not in RARE
    }
    for order in orders:
        Failpoints(f"{tmp_path / 'hits'}{order}")
