"""The file is read in the order in which the flights were to leave."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

from streamjobs.demo.flights import read_flights

HEADING = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
LINES = (
    "2013,1,2,517,1015,2,830,819,11,UA,1545,N2,EWR,IAH,227,1400,10,15,2013-01-02T15:00:00Z",
    "2013,1,1,NA,2359,NA,NA,1815,NA,EV,4308,N1,EWR,RDU,NA,416,23,59,2013-01-02T04:00:00Z",
    "2013,1,1,533,959,4,850,830,-20,UA,1714,N1,LGA,IAH,NA,1416,9,59,2013-01-01T14:00:00Z",
    "2013,1,1,NA,930,NA,NA,1935,NA,AA,791,NA,LGA,DFW,NA,1389,9,30,2013-01-01T14:00:00Z",
    "2013,1,1,931,930,1,1000,935,25,AA,792,N1,LGA,BOS,40,184,9,30,2013-01-01T14:00:00Z",
)


def zipped(folder: Path, lines: tuple[str, ...] = LINES) -> Path:
    path = folder / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flights.csv", "\n".join((HEADING, *lines)) + "\n")
    return path


def test_flights_come_by_hour_then_scheduled_departure_then_row(tmp_path: Path) -> None:
    assert [f.row for f in read_flights(zipped(tmp_path))] == [4, 5, 3, 2, 1]


def test_legs_count_the_flights_of_each_aircraft(tmp_path: Path) -> None:
    legs = [(f.tail_number, f.leg) for f in read_flights(zipped(tmp_path))]
    assert legs == [(None, 0), ("N1", 1), ("N1", 2), ("N1", 3), ("N2", 1)]


def test_what_the_file_does_not_say_is_none_and_the_rest_is_typed(tmp_path: Path) -> None:
    unknown, full, no_air_time, cancelled, _ = read_flights(zipped(tmp_path))
    assert unknown.tail_number is None
    assert full == (
        5,
        "N1",
        1,
        datetime(2013, 1, 1, 14, 30, tzinfo=UTC),
        "AA",
        792,
        "LGA",
        "BOS",
        184,
        1000,
        25,
        40,
    )
    assert (no_air_time.arrived, no_air_time.delay, no_air_time.air_time) == (850, -20, None)
    assert (cancelled.arrived, cancelled.delay) == (None, None)


def test_a_limit_takes_the_first_of_the_year(tmp_path: Path) -> None:
    assert [f.row for f in read_flights(zipped(tmp_path), limit=2)] == [4, 5]
