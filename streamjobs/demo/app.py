"""The demo's app, written as a user's would be: one queue, one job."""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache
from pathlib import Path

from streamjobs import App, Call, Context, DeadLetter, Discard, Retry
from streamjobs.demo.flights import Flight
from streamjobs.demo.ledger import Booking, Ledger, Setback
from streamjobs.demo.rules import DELAYS, NO_ARRIVAL, NO_TAIL_NUMBER, weather_fails

QUEUE = "flights"

_ID_HEAD = "f1195201-3000-8000-8000-"

app = App("flights-demo")
app.queue(QUEUE, partitions=8, retry=Retry(delays=DELAYS))


def job_id(row: int) -> str:
    """Return the id of a flight's job: a UUID of version 8 (RFC 9562) that ends in its row.

    Ids of one's own make enqueueing the same file twice harmless to whatever is idempotent by id.
    """
    return f"{_ID_HEAD}{row:012x}"


def job_number(job: str) -> int:
    """Return the number at the end of a job's id."""
    return int(job[len(_ID_HEAD) :], 16)


class WeatherUnavailable(Exception):
    """The weather service of an airport does not answer; it may the next time."""


def ledger_path() -> Path:
    """Return where the ledgers are: ``FLIGHTS_LEDGER``, else a file in the working directory."""
    return Path(os.environ.get("FLIGHTS_LEDGER") or "flights-ledger.db")


@cache
def ledger() -> Ledger:
    """Open the ledgers, once per process."""
    return Ledger(ledger_path())


@app.job(queue=QUEUE, key="tail_number")
def book_flight(
    ctx: Context,
    *,
    row: int,
    tail_number: str | None,
    leg: int,
    scheduled: datetime,
    carrier: str,
    number: int,
    origin: str,
    destination: str,
    distance: int,
    arrived: int | None,
    delay: int | None,
    air_time: int | None,
) -> None:
    """Book one flight into the ledger of its aircraft; the rules are in ``demo/rules.py``."""
    book = ledger()
    started, job = book.start(), job_number(ctx.job_id)

    def set_back(outcome: str) -> None:
        setback = Setback(job, ctx.attempt, tail_number, leg, outcome)
        book.set_back(setback, started)

    if tail_number is None:
        set_back("discarded")
        raise Discard(NO_TAIL_NUMBER)
    if arrived is None:
        set_back("dead")
        raise DeadLetter(NO_ARRIVAL)
    if weather_fails(row, destination, scheduled, ctx.attempt):
        set_back("failed")
        raise WeatherUnavailable(
            f"{carrier} {number} from {origin}: the weather service of {destination} is down"
        )
    book.book(Booking(job, tail_number, leg, distance, air_time, delay), started)


def call(flight: Flight) -> Call:
    """Bind a flight to its job, ready for ``enqueue_many``."""
    return book_flight.options(id=job_id(flight.row)).call(**flight._asdict())
