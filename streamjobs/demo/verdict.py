"""Whether a run came to what it had to come to: the comparison, pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamjobs.demo.process import WorkerReport
from streamjobs.demo.rules import Expected, Totals
from streamjobs.wording import counted

_SHOWN = 5


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        engine: of the broker.
        enqueued: jobs that the log acknowledged.
        report: what the worker counted.
        booked: rows in the ledgers; ``discarded``: rows the handler discarded.
        dead: how many dead letters each row has.
        aircraft: totals by tail number, from the ledgers.
        order_violations: flights that started before an earlier one of their aircraft had ended.
        seconds: from the first enqueue until the worker had ended.
    """

    engine: str
    enqueued: int
    report: WorkerReport
    booked: set[int]
    discarded: set[int]
    dead: Mapping[int, int]
    aircraft: Mapping[str, Totals]
    order_violations: int
    seconds: float

    @property
    def rate(self) -> float:
        """Jobs per second of the worker, from its first record to its last outcome."""
        return self.enqueued / self.report.seconds if self.report.seconds else 0.0


def problems(run: Run, expected: Expected) -> list[str]:
    """Say everything that differs between a run and what was expected, a line each."""
    flights = set().union(*expected.rows.values())
    ended = run.booked | run.discarded | run.dead.keys()
    found = [
        *_rows("lost: neither booked, discarded nor dead", flights - ended),
        *_rows("in an end that is not theirs", _misplaced(run, expected) - (flights - ended)),
        *_rows("never enqueued, and there all the same", ended - flights),
        *_rows("in the DLQ more than once", {row for row, n in run.dead.items() if n > 1}),
    ]
    if run.enqueued != len(flights):
        found.append(
            f"{counted(run.enqueued, 'job was', 'jobs were')} acknowledged, "
            f"the file has {len(flights):,}"
        )
    if run.order_violations:
        found.append(
            f"{counted(run.order_violations, 'flight')} began before an earlier one "
            "of the same aircraft ended"
        )
    return found + _counts(run, expected) + differences(run.aircraft, expected.aircraft)


def differences(found: Mapping[str, Totals], expected: Mapping[str, Totals]) -> list[str]:
    """Name the aircraft whose totals differ, the first few of them."""
    nothing = Totals(0, 0, 0, 0)
    lines = [
        f"aircraft {tail}: {_totals(found.get(tail, nothing))}, "
        f"from the file {_totals(expected.get(tail, nothing))}"
        for tail in sorted(found.keys() | expected.keys())
        if found.get(tail) != expected.get(tail)
    ]
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"... and {more:,} more aircraft differ"] if more > 0 else [])]


def as_json(run: Run, expected: Expected, found: list[str]) -> dict[str, Any]:
    """The result for programs."""
    return {
        "engine": run.engine,
        "enqueued": run.enqueued,
        "succeeded": run.report.succeeded,
        "retried": run.report.retried,
        "discarded": run.report.discarded,
        "dead": run.report.dead,
        "jobs_per_second": round(run.rate),
        "order_violations": run.order_violations,
        "aircraft": len(expected.aircraft),
        "seconds": round(run.seconds, 1),
        "problems": found,
    }


def _misplaced(run: Run, expected: Expected) -> set[int]:
    return (
        (run.booked ^ expected.rows["booked"])
        | (run.discarded ^ expected.rows["discarded"])
        | (run.dead.keys() ^ expected.rows["dead"])
    )


def _counts(run: Run, expected: Expected) -> list[str]:
    """Compare what the worker counted; a job run again after a lost lease counts twice there."""
    outcomes = (
        ("succeeded", run.report.succeeded, len(expected.rows["booked"])),
        ("retried", run.report.retried, expected.retries),
        ("discarded", run.report.discarded, len(expected.rows["discarded"])),
        ("dead", run.report.dead, len(expected.rows["dead"])),
    )
    return [
        f"the worker counted {count:,} {outcome}, the file says {wanted:,}"
        for outcome, count, wanted in outcomes
        if count != wanted
    ]


def _rows(what: str, rows: set[int]) -> list[str]:
    if not rows:
        return []
    some = ", ".join(map(str, sorted(rows)[:_SHOWN]))
    return [
        f"{counted(len(rows), 'flight')} {what}: rows {some}{' ...' if len(rows) > _SHOWN else ''}"
    ]


def _totals(totals: Totals) -> str:
    return (
        f"{counted(totals.flights, 'flight')}, {totals.distance:,} miles, "
        f"{totals.air_time:,} min in the air, {totals.delay:,} min late"
    )
