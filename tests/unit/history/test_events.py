from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from history.events import SIZE, Journal, Kind, Outcome, read_events

JOB = "12345678-1234-4234-8234-123456789abc"
TESTS = Path(__file__).parents[2]
PROGRAM = f"""
import os, signal, sys
from history.events import Journal
Journal(sys.argv[1], 7).started({JOB!r}, "key", 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", 3)

    journal.enqueued(JOB, "ключ", 5, 2**40)
    serial = journal.started(JOB, "", 1)
    journal.ended(JOB, "", 1, serial, Outcome.DISCARDED)

    first, start, end = read_events(tmp_path / "j")
    assert (first.kind, first.job, first.key) == (Kind.ENQUEUED, JOB, "ключ")
    assert (first.partition, first.offset) == (5, 2**40)
    assert (start.worker, start.pid, start.attempt) == (3, os.getpid(), 1)
    assert (end.kind, end.outcome, end.serial) == (Kind.ENDED, Outcome.DISCARDED, start.serial)
    assert first.at <= start.at <= end.at


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(TESTS)})

    assert done.returncode == -signal.SIGKILL
    (event,) = read_events(path)
    assert (event.kind, event.worker, event.attempt) == (Kind.STARTED, 7, 2)


def test_threads_do_not_mix_their_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", 1)

    def work() -> None:
        for _ in range(200):
            serial = journal.started(JOB, "k", 1)
            journal.ended(JOB, "k", 1, serial, Outcome.SUCCEEDED)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = list(read_events(tmp_path / "j"))
    assert len(events) == 1600
    assert len({(e.kind, e.serial) for e in events}) == 1600


def test_half_an_event_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(bytes(SIZE + 1))

    with pytest.raises(ValueError, match="no whole events"):
        read_events(tmp_path / "j")


def test_what_is_half_written_is_left_out_while_the_file_grows(tmp_path: Path) -> None:
    Journal(tmp_path / "j", 1).started(JOB, "k", 1)
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(5))

    assert [e.kind for e in read_events(tmp_path / "j", growing=True)] == [Kind.STARTED]


def test_no_file_is_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none")) == []
