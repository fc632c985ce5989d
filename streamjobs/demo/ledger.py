"""The aircraft's ledgers in SQLite: what the demo's jobs do in the world.

A booking is in the file when ``book`` returns, and that is before the job's success is reported:
every statement commits by itself into the write-ahead log, which the operating system holds, so a
worker killed at any point has either booked the flight or will be given its job again. Without
``synchronous`` only a crash of the whole machine could lose one, and then the broker of the demo is
gone too.
"""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from streamjobs.demo.rules import ATTEMPTS, Totals

# A job is known by the number at the end of its id: as a row's own number it costs no second index.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS booking (
  job INTEGER PRIMARY KEY, tail_number TEXT NOT NULL, leg INTEGER NOT NULL,
  distance INTEGER NOT NULL, air_time INTEGER, delay INTEGER,
  started INTEGER NOT NULL, ended INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS setback (
  job INTEGER NOT NULL, attempt INTEGER NOT NULL, tail_number TEXT, leg INTEGER NOT NULL,
  outcome TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER NOT NULL,
  PRIMARY KEY (job, attempt)) WITHOUT ROWID;
"""
_BOOK = "INSERT OR IGNORE INTO booking VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SET_BACK = "INSERT OR IGNORE INTO setback VALUES (?, ?, ?, ?, ?, ?, ?)"
# Every attempt of every keyed flight: when it first started, when it ended for good (null: never).
_LIVES = f"""
SELECT tail_number, leg, min(started), max(final) FROM (
  SELECT tail_number, leg, started, ended AS final FROM booking
  UNION ALL
  SELECT tail_number, leg, started,
         CASE WHEN outcome != 'failed' OR attempt >= {ATTEMPTS} THEN ended END
  FROM setback WHERE tail_number IS NOT NULL)
GROUP BY tail_number, leg ORDER BY tail_number, leg
"""  # noqa: S608  the only thing put in is a number of ours


class Setback(NamedTuple):
    """An attempt that booked nothing; ``outcome``: ``failed``, ``discarded`` or ``dead``."""

    job: int
    attempt: int
    tail_number: str | None
    leg: int
    outcome: str


class Booking(NamedTuple):
    """A flight as it goes into its aircraft's ledger; units as in ``Flight``."""

    job: int
    tail_number: str
    leg: int
    distance: int
    air_time: int | None
    delay: int | None


class Ledger:
    """The ledgers of all aircraft in one file; any thread may call anything.

    Starts and ends of attempts are stamped with one running number, which is what order is judged
    by afterwards.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Each booking writes one page into the log: with small ones four threads book 60,000 a
        # second instead of 38,000.
        self._db.execute("PRAGMA page_size = 1024")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 20000")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)
        (last,) = self._db.execute(
            "SELECT max((SELECT coalesce(max(ended), 0) FROM booking),"
            " (SELECT coalesce(max(ended), 0) FROM setback))"
        ).fetchone()
        self._clock = count(int(last) + 1)

    def start(self) -> int:
        """Stamp the start of an attempt."""
        return next(self._clock)

    def book(self, booking: Booking, started: int) -> None:
        """Book a flight; the same job again changes nothing."""
        with self._lock:
            self._db.execute(_BOOK, (*booking, started, next(self._clock)))

    def set_back(self, setback: Setback, started: int) -> None:
        """Note an attempt that booked nothing, and so when it started and ended."""
        with self._lock:
            self._db.execute(_SET_BACK, (*setback, started, next(self._clock)))

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        with self._lock:
            self._db.close()

    def ended(self) -> int:
        """How many jobs have ended for good; 10 ms at the end of a whole run."""
        return self._one("SELECT count(*) FROM booking") + self._one(
            "SELECT count(*) FROM setback WHERE outcome != 'failed' OR attempt >= ?", ATTEMPTS
        )

    def booked(self) -> set[int]:
        """The jobs of the booked flights."""
        return {job for (job,) in self._all("SELECT job FROM booking")}

    def discarded(self) -> set[int]:
        """The jobs of the discarded flights."""
        return {job for (job,) in self._all("SELECT job FROM setback WHERE outcome = 'discarded'")}

    def aircraft(self) -> dict[str, Totals]:
        """The totals of every aircraft, by tail number."""
        rows = self._all(
            "SELECT tail_number, count(*), sum(distance), coalesce(sum(air_time), 0),"
            " coalesce(sum(delay), 0) FROM booking GROUP BY tail_number"
        )
        return {tail: Totals(*totals) for tail, *totals in rows}

    def order_violations(self) -> int:
        """Count the flights first started before every earlier one of their aircraft had ended.

        An earlier flight that failed and waits to be tried again has not ended, so each flight that
        overtakes it counts.
        """
        violations, aircraft, latest_end = 0, "", 0.0
        for tail, _, started, ended in self._all(_LIVES):
            if tail != aircraft:
                aircraft, latest_end = tail, 0.0
            violations += started < latest_end
            latest_end = max(latest_end, float("inf") if ended is None else ended)
        return violations

    def _one(self, query: str, *values: object) -> int:
        with self._lock:
            return int(self._db.execute(query, values).fetchone()[0])

    def _all(self, query: str) -> list[Any]:
        with self._lock:
            return list(self._db.execute(query))
