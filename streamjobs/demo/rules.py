"""What becomes of a flight: the demo's rules, shared by its jobs and by the direct computation.

Everything here is a function of the flight and the attempt, so what a run has to come to is known
before it begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal, NamedTuple
from zlib import crc32

from streamjobs.demo.flights import Flight

DELAYS = ("250ms", "500ms", "1s")
ATTEMPTS = len(DELAYS) + 1

# One in so many days the weather service of an airport is in trouble, and then this many of a
# hundred questions to it fail, each attempt by itself.
STORM_EVERY = 40
FAILS_PERCENT = 40

NO_TAIL_NUMBER = "no tail number: no aircraft to book it to"
NO_ARRIVAL = "no arrival time: cancelled or diverted"

_STORM = (
    f"weather service down (any airport, 1 day in {STORM_EVERY}, {FAILS_PERCENT} % of attempts): "
    f"tried again after {', '.join(DELAYS)}, then dead"
)
TEXT = (
    "no tail number: discarded (it has no key, so no place in any order)",
    "no arrival time, cancelled or diverted: a dead letter at once",
    _STORM,
    "all others: booked into the ledger of their aircraft",
)

Fate = Literal["booked", "discarded", "dead"]


class Totals(NamedTuple):
    """What one aircraft's ledger adds up to: flights, miles, minutes in the air, minutes late."""

    flights: int
    distance: int
    air_time: int
    delay: int


@dataclass
class Expected:
    """What a run has to come to.

    Attributes:
        rows: the rows of the file by what becomes of them.
        retries: how many attempts are followed by another.
        aircraft: totals by tail number, of booked flights.
    """

    rows: dict[Fate, set[int]] = field(
        default_factory=lambda: {"booked": set(), "discarded": set(), "dead": set()}
    )
    retries: int = 0
    aircraft: dict[str, Totals] = field(default_factory=dict)


@cache
def stormy(airport: str, day: int) -> bool:
    """Whether an airport's weather service is in trouble on a day (a proleptic ordinal)."""
    return crc32(f"{airport} {day}".encode()) % STORM_EVERY == 0


def weather_fails(row: int, destination: str, scheduled: datetime, attempt: int) -> bool:
    """Whether the weather service fails to answer this attempt (from 1) for this flight."""
    if not stormy(destination, scheduled.toordinal()):
        return False
    return crc32(f"{row}/{attempt}".encode()) % 100 < FAILS_PERCENT


def failures(flight: Flight) -> int:
    """How many attempts at a flight the weather fails, from the first on; ATTEMPTS is its end."""
    for attempt in range(1, ATTEMPTS + 1):
        if not weather_fails(flight.row, flight.destination, flight.scheduled, attempt):
            return attempt - 1
    return ATTEMPTS


def expect(flights: Iterable[Flight]) -> Expected:
    """Compute from the flights alone, without jobs, what a run has to come to."""
    expected = Expected()
    for flight in flights:
        fate, failed = _fate(flight)
        expected.rows[fate].add(flight.row)
        expected.retries += min(failed, ATTEMPTS - 1)
        if fate == "booked":
            _add(expected.aircraft, flight)
    return expected


def _fate(flight: Flight) -> tuple[Fate, int]:
    if flight.tail_number is None:
        return "discarded", 0
    if flight.arrived is None:
        return "dead", 0
    failed = failures(flight)
    return ("dead" if failed == ATTEMPTS else "booked"), failed


def _add(aircraft: dict[str, Totals], flight: Flight) -> None:
    tail = flight.tail_number or ""
    flights, distance, air_time, delay = aircraft.get(tail, (0, 0, 0, 0))
    aircraft[tail] = Totals(
        flights + 1,
        distance + flight.distance,
        air_time + (flight.air_time or 0),
        delay + (flight.delay or 0),
    )
