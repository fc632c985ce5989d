"""What a campaign prints, and what makes it void."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from chaos.campaign import Plan
from chaos.fleet import Fleet
from chaos.orders import AT_FIRST, STEP, TRIES, Order, Orders
from chaos.verdict import (
    COLUMNS,
    NEEDED,
    STORIES,
    WAITS,
    known_gaps,
    needed_in_all,
    report,
    row,
    table,
)
from history.events import Event, Kind, Outcome
from history.judge import Violation, judge, vacuous
from history.model import SECOND, Gap
from history.take_overs import INSIDE, TakeOver
from unit.history.scenes import A, sound

from streamjobs.failpoints import POINTS, Failpoints

FOUND = [TakeOver(1, 0, 7.0, A, inside=False), TakeOver(2, 3, 6.25, A, inside=True)]


def test_a_report_has_totals_faults_and_the_stories_of_a_few_violations() -> None:
    scene = sound()
    scene.fault(5)
    many = [Violation("order", f"case {n}", A) for n in range(STORIES + 3)]

    text = report(scene.history, many, 50.0, [FOUND[0], FOUND[0]._replace(seconds=1.0)])

    assert "  jobs: 3\n" in text
    assert "owner killed anywhere: 1.0 7.0\n" in text
    assert "owner killed in a transaction: none\n" in text
    assert "5.0000 something" in text
    assert text.count("BROKEN order: case") == STORIES
    assert text.count("producer enqueued at [0]@0") == STORIES


def test_a_table_has_a_line_for_each_campaign_and_their_totals() -> None:
    scene = sound()
    totals = scene.history.totals()
    lines = [row(seed, "classic", totals, FOUND, "no rule is broken") for seed in (1, 2)]

    text = table(lines, totals + totals).split("\n")

    assert text[0].startswith("| seed | groups | jobs | starts | begun again |")
    assert text[2:4] == lines
    assert text[2].startswith("| 1 | classic | 3 |")
    assert text[2].endswith("| 7.0 | 6.2 | no rule is broken |")
    assert text[4].startswith("| all |  | 6 |")
    assert {line.count("|") for line in text[:5]} == {len(COLUMNS) + len(WAITS) + 4}
    assert text[6].startswith("Failpoints passed: loop.assigned 0")
    assert text[8].startswith("Workers killed or stopped there: loop.assigned 0")
    assert text[10] == "Take-overs measured: 0, in a transaction 0."


def test_an_attempt_that_kills_a_child_has_failed_and_one_that_kills_its_worker_has_not_ended(
    tmp_path: Path,
) -> None:
    scene = sound()
    for pid, second in ((101, 90), (555, 91)):
        for kind, outcome in ((Kind.STARTED, Outcome.NONE), (Kind.KILLED, Outcome.FAILED)):
            what = (kind, outcome, 1, pid, 1, second, second * SECOND)
            scene.history.events.append(Event(*what, A, "k", -1, -1))

    worker, child = scene.history.attempts_of[A][-2:]
    fleet = fleet_of(tmp_path)
    fleet.processes = scene.history.processes
    fleet.killed_by(scene.history.events)

    assert (worker.ended, worker.outcome) == (None, Outcome.NONE)
    assert (child.ended, child.outcome) == (91 * SECOND, Outcome.FAILED)
    assert fleet.processes[1].killed == 90 * SECOND
    assert [fault.what for fault in fleet.faults] == [f"worker 1 was killed by job {A}"]
    assert scene.history.totals()["kills by jobs"] == 2


def test_every_failpoint_is_needed_twenty_times_and_has_ended_somebody() -> None:
    needed = needed_in_all(30)
    assert {n: needed[f"hit {n}"] for n in POINTS} == dict.fromkeys(POINTS, 20)
    assert {n: needed[f"end at {n}"] for n in POINTS} == dict.fromkeys(POINTS, 1)
    assert needed["kills and stops at failpoints"] == 20

    nineteen = Counter(needed) - Counter({"hit txn.aborted": 1})
    assert [v.text for v in vacuous(nineteen, needed)] == [
        "hit txn.aborted: 19, and at least 20 are needed"
    ]


def test_of_few_runs_less_is_needed_of_what_a_run_has_once_or_twice() -> None:
    needed = needed_in_all(3)

    assert (needed["hit txn.aborted"], needed["hit loop.lost"]) == (3, 3)
    assert all(needed[f"hit {name}"] == 20 for name in POINTS if name.startswith("cycle."))
    assert not any(name.startswith("end at") for name in needed)


@pytest.mark.parametrize("runs", range(1, 12))
@pytest.mark.parametrize("seed", range(4))
def test_as_many_deaths_in_transactions_are_needed_as_are_planned_at_least(
    runs: int, seed: int
) -> None:
    plans = [Plan(n, 60, "classic") for n in range(seed, seed + runs)]

    assert needed_in_all(runs)["take-overs"] == runs
    assert needed_in_all(runs)[INSIDE] <= sum(plan.dies_in is not None for plan in plans)


def test_both_protocols_meet_each_place_of_a_transaction() -> None:
    met = {(seed % 2, Plan(seed, 60, "classic").dies_in) for seed in range(8)}

    assert met == {(n, at) for n in (0, 1) for at in (None, "txn.produced", "txn.offsets-sent")}


@pytest.mark.parametrize("name", ["kills", "stops", "rebalances", "retries", "dead", "poison"])
def test_a_run_without_it_is_void(name: str) -> None:
    enough = Counter(NEEDED)
    assert list(vacuous(enough, NEEDED)) == []

    enough[name] = 0
    assert [v.rule for v in vacuous(enough, NEEDED)] == ["vacuous"]


def test_all_known_gaps_are_excused_unless_the_campaign_is_strict() -> None:
    assert known_gaps() <= set(Gap)
    assert judge(sound().history, {}) == []


def fleet_of(folder: Path) -> Fleet:
    return Fleet(folder, {}, random.Random(1), Orders(1, random.Random(1)), 6.0)


def test_orders_to_die_are_ones_that_workers_understand(tmp_path: Path) -> None:
    orders = Orders(3, random.Random(1))

    dealt = [order for _ in range(300) if (order := orders.deal()) is not None]

    assert len(dealt) < 300
    assert {order.point for order in dealt} == set(POINTS)
    for order in dealt:
        Failpoints(f"{tmp_path / 'hits'}{order.text}")


def test_seeds_in_a_row_go_on_where_the_one_before_has_ended() -> None:
    points = []
    for seed in range(4):
        orders = Orders(seed, random.Random(seed))
        dealt = [order.point for _ in range(60) if (order := orders.deal()) is not None]
        assert dealt[:AT_FIRST] == ["txn.begun"] * AT_FIRST  # what every run begins with
        points += dealt[AT_FIRST : AT_FIRST + STEP]

    assert points == [POINTS[n % len(POINTS)] for n in range(4 * STEP)]


def test_an_order_that_was_not_carried_out_is_given_to_another_for_a_while() -> None:
    orders = Orders(1, random.Random(1))

    def deal() -> Order:
        return next(order for _ in range(60) if (order := orders.deal()) is not None)

    given = [deal() for _ in range(AT_FIRST + 1)]
    for _ in range(TRIES - 1):
        orders.take_back(given[-1])
        assert deal() is given[-1]
    orders.take_back(given[-1])

    assert deal() not in given
