"""A run that differs in anything from the direct computation is told so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamjobs.demo.process import WorkerReport
from streamjobs.demo.rules import Expected, Totals
from streamjobs.demo.verdict import Run, as_json, differences, problems

EXPECTED = Expected(
    rows={"booked": {1, 2, 3}, "discarded": {4}, "dead": {5}},
    retries=2,
    aircraft={"N1": Totals(2, 200, 60, 5), "N2": Totals(1, 100, 30, -5)},
)
GOOD = Run(
    engine="Apache Kafka",
    enqueued=5,
    report=WorkerReport(succeeded=3, retried=2, discarded=1, dead=1, released=0, seconds=0.5),
    booked={1, 2, 3},
    discarded={4},
    dead={5: 1},
    aircraft=dict(EXPECTED.aircraft),
    order_violations=0,
    seconds=2.04,
)


def test_a_run_as_computed_has_no_problems() -> None:
    assert problems(GOOD, EXPECTED) == []
    assert as_json(GOOD, EXPECTED, []) == {
        "engine": "Apache Kafka",
        "enqueued": 5,
        "succeeded": 3,
        "retried": 2,
        "discarded": 1,
        "dead": 1,
        "jobs_per_second": 10,
        "order_violations": 0,
        "aircraft": 2,
        "seconds": 2.0,
        "problems": [],
    }


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            replace(GOOD, booked={1, 2}),
            "1 flight lost: neither booked, discarded nor dead: rows 3",
        ),
        (replace(GOOD, dead={}), "1 flight lost"),
        (replace(GOOD, order_violations=3), "3 flights began before an earlier one"),
        (replace(GOOD, discarded=set(), dead={4: 1, 5: 1}), "in an end that is not theirs: rows 4"),
        (replace(GOOD, dead={5: 1, 1: 1}), "in an end that is not theirs: rows 1"),
        (replace(GOOD, dead={5: 2}), "in the DLQ more than once: rows 5"),
        (replace(GOOD, dead={5: 1, 0: 1}), "never enqueued, and there all the same: rows 0"),
        (replace(GOOD, enqueued=4), "4 jobs were acknowledged, the file has 5"),
        (
            replace(GOOD, report=GOOD.report._replace(retried=1)),
            "the worker counted 1 retried, the file says 2",
        ),
        (
            replace(GOOD, aircraft={**GOOD.aircraft, "N2": Totals(1, 100, 30, -4)}),
            "aircraft N2: 1 flight, 100 miles, 30 min in the air, -4 min late, from the file",
        ),
        (replace(GOOD, aircraft={"N1": EXPECTED.aircraft["N1"]}), "aircraft N2: 0 flights"),
    ],
)
def test_whatever_differs_is_named(run: Run, told: str) -> None:
    found = problems(run, EXPECTED)
    assert any(told in line for line in found), found


def test_of_many_differences_a_few_are_shown_and_the_rest_counted() -> None:
    lines = differences({}, {f"N{n}": Totals(1, 1, 1, 1) for n in range(1005)})
    assert len(lines) == 6
    assert lines[-1] == "... and 1,000 more aircraft differ"
