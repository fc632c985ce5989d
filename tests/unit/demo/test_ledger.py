"""The ledger: idempotent by job id, kept through a kill, honest about order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamjobs.demo.ledger import Booking, Ledger, Setback
from streamjobs.demo.rules import ATTEMPTS, Totals


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def booking(leg: int, tail: str = "N1") -> Booking:
    return Booking(leg + 1000 * (tail != "N1"), tail, leg, 100, 60, -5)


def setback(leg: int, attempt: int = 1, outcome: str = "failed") -> Setback:
    return Setback(leg, attempt, "N1", leg, outcome)


def book(ledger: Ledger, leg: int, tail: str = "N1") -> None:
    ledger.book(booking(leg, tail), ledger.start())


def test_the_same_job_again_changes_nothing(ledger: Ledger) -> None:
    for _ in range(3):
        book(ledger, 1)
    book(ledger, 2)
    assert ledger.aircraft() == {"N1": Totals(2, 200, 120, -10)}
    assert ledger.booked() == {1, 2}
    assert ledger.ended() == 2


def test_a_job_has_ended_when_booked_discarded_dead_or_out_of_attempts(ledger: Ledger) -> None:
    book(ledger, 1)
    ledger.set_back(setback(2), ledger.start())
    ledger.set_back(setback(3, ATTEMPTS), ledger.start())
    ledger.set_back(setback(4, outcome="dead"), ledger.start())
    ledger.set_back(Setback(5, 1, None, 0, "discarded"), ledger.start())
    assert ledger.ended() == 4
    assert ledger.discarded() == {5}


def test_flights_in_order_are_no_violation_and_aircraft_do_not_mix(ledger: Ledger) -> None:
    book(ledger, 2, "N2")
    for leg in (1, 2, 3):
        book(ledger, leg)
    book(ledger, 3, "N2")
    assert ledger.order_violations() == 0


def test_each_flight_that_overtakes_one_waiting_for_its_retry_is_a_violation(
    ledger: Ledger,
) -> None:
    # given a flight whose first attempt failed
    ledger.set_back(setback(1), ledger.start())
    # when two later ones run before its second attempt, and one after
    book(ledger, 2)
    book(ledger, 3)
    ledger.book(booking(1), ledger.start())
    book(ledger, 4)
    # then the two have overtaken it
    assert ledger.order_violations() == 2


def test_a_start_before_the_end_of_the_one_before_is_a_violation(ledger: Ledger) -> None:
    first, second = ledger.start(), ledger.start()
    ledger.book(booking(1), first)
    ledger.book(booking(2), second)
    assert ledger.order_violations() == 1


def test_a_dead_flight_frees_its_followers_and_a_lost_one_never_does(ledger: Ledger) -> None:
    ledger.set_back(setback(1, ATTEMPTS), ledger.start())
    ledger.set_back(setback(2, outcome="dead"), ledger.start())
    book(ledger, 3)
    assert ledger.order_violations() == 0
    ledger.set_back(setback(4), ledger.start())
    book(ledger, 5)
    assert ledger.order_violations() == 1


def test_what_was_booked_survives_sigkill_and_the_clock_goes_on(tmp_path: Path) -> None:
    # given a process that books and is killed at once, without closing
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from streamjobs.demo.ledger import Booking, Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for leg in range(1, 501):\n"
        "    ledger.book(Booking(leg, 'N1', leg, 1, 1, 0), ledger.start())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    # when the next one opens it and books on
    ledger = Ledger(path)
    book(ledger, 501)
    # then nothing is missing, and the new stamps come after the old ones
    assert ledger.booked() == set(range(1, 502))
    assert ledger.order_violations() == 0
    ledger.close()
