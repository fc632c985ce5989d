"""The flights as values: read from the zipped CSV, in the order in which they were to leave."""

from __future__ import annotations

import csv
import gc
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

MISSING = "NA"  # how the file writes a value that is not there


class Flight(NamedTuple):
    """One line of the file.

    Attributes:
        row: its place in the file, from 1 (the line after the heading).
        tail_number: the aircraft, or None where the file does not say.
        leg: its place among the flights of its aircraft, from 1; 0 without an aircraft.
        scheduled: the scheduled departure, UTC.
        carrier: two letters.
        number: the flight number.
        origin: airport, three letters; so is ``destination``.
        distance: miles.
        arrived: local time of arrival as hhmm, or None: it never arrived there.
        delay: minutes late at arrival (negative: early), or None.
        air_time: minutes in the air, or None.
    """

    row: int
    tail_number: str | None
    leg: int
    scheduled: datetime
    carrier: str
    number: int
    origin: str
    destination: str
    distance: int
    arrived: int | None
    delay: int | None
    air_time: int | None


_COLUMNS = (
    "tailnum",
    "time_hour",
    "sched_dep_time",
    "minute",
    "carrier",
    "flight",
    "origin",
    "dest",
    "distance",
    "arr_time",
    "arr_delay",
    "air_time",
)


def read_flights(path: Path, *, limit: int | None = None) -> list[Flight]:
    """Read the file, sorted by hour, scheduled departure and row, with legs counted.

    Args:
        path: ``flights.csv.zip``.
        limit: only the first so many flights of the year; None: all 336,776.
    """
    with zipfile.ZipFile(path) as archive:
        text = archive.read("flights.csv").decode("ascii")
    with _collector_paused():
        return arrange(csv.reader(text.splitlines()), limit)


def arrange(lines: Iterator[list[str]], limit: int | None) -> list[Flight]:
    """Sort the lines of the file, the heading first, and make flights of them."""
    heading = next(lines)
    pick = itemgetter(*(heading.index(name) for name in _COLUMNS))
    rows = [(*pick(line), row) for row, line in enumerate(lines, 1)]
    # The hour is text in one fixed form, which sorts as time does.
    rows.sort(key=lambda row: (row[1], int(row[2]), row[-1]))
    return list(_flights(rows[:limit]))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Spare the garbage collector a million tuples that hold no cycles: 1.6 of 4.4 s."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _flights(rows: Iterable[tuple[str, ...]]) -> Iterator[Flight]:
    legs: dict[str, int] = {}
    hours: dict[str, datetime] = {}
    for tail, hour, _, minute, carrier, number, origin, to, miles, arrived, delay, air, row in rows:
        if hour not in hours:
            hours[hour] = datetime.strptime(hour, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        known = tail != MISSING
        legs[tail] = legs.get(tail, 0) + 1
        yield Flight(
            int(row),
            tail if known else None,
            legs[tail] if known else 0,
            hours[hour].replace(minute=int(minute)),
            carrier,
            int(number),
            origin,
            to,
            int(miles),
            _number(arrived),
            _number(delay),
            _number(air),
        )


def _number(text: str) -> int | None:
    return None if text == MISSING else int(text)
