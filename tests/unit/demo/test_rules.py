"""What becomes of a flight follows from the flight and the attempt alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streamjobs.demo.flights import Flight
from streamjobs.demo.rules import ATTEMPTS, Totals, expect, failures, stormy, weather_fails

CALM = Flight(
    7, "N1", 1, datetime(2013, 1, 1, 12, tzinfo=UTC), "UA", 1, "EWR", "IAH", 1400, 830, -5, 200
)


def storm_day(airport: str) -> datetime:
    day = CALM.scheduled
    while not stormy(airport, day.toordinal()):
        day += timedelta(days=1)
    return day


def stormy_flight(failed: int) -> Flight:
    """A flight that the weather fails just so many times."""
    day = storm_day("IAH")
    candidates = (CALM._replace(row=row, scheduled=day) for row in range(1, 10_000))
    return next(f for f in candidates if failures(f) == failed)


def test_the_weather_fails_only_on_stormy_days_and_the_same_way_each_time() -> None:
    day = storm_day("IAH")
    asked = [weather_fails(row, "IAH", day, 1) for row in range(1000)]
    assert 300 < sum(asked) < 500
    assert asked == [weather_fails(row, "IAH", day, 1) for row in range(1000)]
    calm = next(
        d for n in range(9) if not stormy("IAH", (d := day + timedelta(days=n)).toordinal())
    )
    assert not any(weather_fails(row, "IAH", calm, 1) for row in range(1000))


def test_an_aircraft_adds_up_its_booked_flights_and_counts_what_is_unknown_as_nothing() -> None:
    second = CALM._replace(row=8, distance=100, delay=None, air_time=None)
    expected = expect([CALM, second, CALM._replace(row=9, tail_number="N2", delay=3)])
    assert expected.aircraft == {"N1": Totals(2, 1500, 200, -5), "N2": Totals(1, 1400, 200, 3)}
    assert expected.rows == {"booked": {7, 8, 9}, "discarded": set(), "dead": set()}


def test_no_aircraft_is_discarded_and_no_arrival_is_dead_whatever_the_weather() -> None:
    storm = stormy_flight(ATTEMPTS)
    expected = expect([storm._replace(tail_number=None), CALM._replace(arrived=None)])
    assert (expected.rows["discarded"], expected.rows["dead"]) == ({storm.row}, {CALM.row})
    assert (expected.retries, expected.aircraft) == (0, {})


def test_failures_below_the_ladders_end_are_retries_and_one_more_is_death() -> None:
    twice, dead = stormy_flight(2), stormy_flight(ATTEMPTS)
    expected = expect([twice, dead])
    assert expected.rows["booked"] == {twice.row}
    assert expected.rows["dead"] == {dead.row}
    assert expected.retries == 2 + (ATTEMPTS - 1)
