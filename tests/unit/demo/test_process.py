"""The worker's process: started again when it drained too early, heard out, and ended."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamjobs.demo.process import DemoError, Worker, WorkerReport

REPORT = {
    "queue": "flights",
    "succeeded": 3,
    "retried": 2,
    "dead": 1,
    "discarded": 4,
    "released": 0,
    "seconds": 1.5,
}


@contextmanager
def worker(program: str, folder: Path) -> Iterator[Worker]:
    with Worker([sys.executable, "-c", program], dict(os.environ), folder) as running:
        yield running


def until_ended(running: Worker) -> None:
    deadline = time.monotonic() + 20
    while running.running():
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.02)


def test_reports_of_one_after_the_other_are_added(tmp_path: Path) -> None:
    program = f"import sys; print('noise', file=sys.stderr); print({json.dumps(REPORT)!r})"
    with worker(program, tmp_path) as running:
        for _ in range(2):
            running.keep_running()
            until_ended(running)
    assert running.starts == 2
    assert running.report == WorkerReport(6, 4, 8, 2, 0, 3.0)


def test_a_failed_worker_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with worker("raise SystemExit('no broker at 127.0.0.1:1')", tmp_path) as running:
        running.keep_running()
        with pytest.raises(DemoError, match=r"(?s)exit code 1.*no broker at 127\.0\.0\.1:1"):
            until_ended(running)


def test_a_worker_without_a_report_is_an_error(tmp_path: Path) -> None:
    with worker("print('done')", tmp_path) as running:
        running.keep_running()
        with pytest.raises(DemoError, match=r"(?s)without a report.*done"):
            until_ended(running)


def test_leaving_the_block_ends_it_in_good_order(tmp_path: Path) -> None:
    # given one that says when it is up, and when it was asked to stop
    mark = tmp_path / "marks"
    program = (
        "import signal, sys, time\n"
        f"marks = open({str(mark)!r}, 'w', buffering=1)\n"
        "def stop(*_):\n    marks.write('stopped')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "marks.write('up\\n')\n"
        "time.sleep(60)\n"
    )
    with worker(program, tmp_path) as running:
        running.keep_running()
        deadline = time.monotonic() + 20
        while not (mark.exists() and mark.read_text().startswith("up")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    # then
    assert mark.read_text() == "up\nstopped"
