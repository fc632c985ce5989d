"""What a campaign prints, and what makes it void."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from chaos.fleet import RARE, Fleet
from chaos.verdict import COLUMNS, NEEDED, NEEDED_IN_ALL, STORIES, known_gaps, report, row, table
from history.events import Event, Kind, Outcome
from history.judge import Violation, judge, vacuous
from history.model import SECOND, Gap
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


def test_a_table_has_a_line_for_each_campaign_and_their_totals() -> None:
    scene = sound()
    totals = scene.history.totals()
    lines = [row(seed, "classic", totals, [6.25, 7.0], "no rule is broken") for seed in (1, 2)]

    text = table(lines, totals + totals).split("\n")

    assert text[0].startswith("| seed | groups | jobs | starts | begun again |")
    assert text[2:4] == lines
    assert text[2].startswith("| 1 | classic | 3 |")
    assert text[2].endswith("| 7.0 | no rule is broken |")
    assert text[4].startswith("| all |  | 6 |")
    assert {line.count("|") for line in text[:5]} == {len(COLUMNS) + 5}
    assert text[-1].startswith("Failpoints passed: loop.assigned 0")


def test_an_attempt_that_kills_a_child_has_failed_and_one_that_kills_its_worker_has_not_ended(
    tmp_path: Path,
) -> None:
    scene = sound()
    for pid, second in ((101, 90), (555, 91)):
        for kind, outcome in ((Kind.STARTED, Outcome.NONE), (Kind.KILLED, Outcome.FAILED)):
            what = (kind, outcome, 1, pid, 1, second, second * SECOND)
            scene.history.events.append(Event(*what, A, "k", -1, -1))

    worker, child = scene.history.attempts_of[A][-2:]
    fleet = Fleet(tmp_path, {}, random.Random(1), 6.0)
    fleet.processes = scene.history.processes
    fleet.killed_by(scene.history.events)

    assert (worker.ended, worker.outcome) == (None, Outcome.NONE)
    assert (child.ended, child.outcome) == (91 * SECOND, Outcome.FAILED)
    assert fleet.processes[1].killed == 90 * SECOND
    assert [fault.what for fault in fleet.faults] == [f"worker 1 was killed by job {A}"]
    assert scene.history.totals()["kills by jobs"] == 2


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
