"""No broker there: a worker says so, stays not-ready, keeps trying, and ends when told to."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from integration.scene import WorkerProcess, eventually

MODULE = """
from streamjobs import App
app = App("lonely")
app.queue("mail")

@app.job(queue="mail")
def send(number: int) -> None: ...
"""


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_a_worker_without_a_broker_waits_and_says_so(tmp_path: Path, nowhere: str) -> None:
    # Given a worker whose broker does not exist
    (tmp_path / "lonely.py").write_text(MODULE)
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamjobs.cli.main", "-A", "lonely", "worker", "--http", "0"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin", "STREAMJOBS_BOOTSTRAP_SERVERS": nowhere},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )
    worker = WorkerProcess(process, log)
    try:
        # Then it is alive, not ready, and its log has one clear line
        found = eventually(lambda: re.search(r"HTTP on 127.0.0.1:(\d+)", worker.errors), "HTTP")
        assert ask(f"http://127.0.0.1:{found[1]}/healthz")[0] == 200
        code, body = ask(f"http://127.0.0.1:{found[1]}/readyz")
        assert (code, "Kafka broker" in body) == (503, True)
        line = f"no Kafka broker answers at {nowhere}"
        eventually(lambda: line in worker.errors, "the line", within=15)
        assert worker.process.poll() is None

        # And it ends when it is told to
        assert worker.stop(within=30) == 0, worker.errors
    finally:
        if worker.process.poll() is None:
            worker.kill()


def test_other_commands_fail_within_15_seconds_with_one_line(tmp_path: Path, nowhere: str) -> None:
    (tmp_path / "lonely.py").write_text(MODULE)

    done = subprocess.run(
        [sys.executable, "-m", "streamjobs.cli.main", "-A", "lonely", "status"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "STREAMJOBS_BOOTSTRAP_SERVERS": nowhere},
        capture_output=True,
        text=True,
        timeout=40,  # its start may take a while on a busy machine
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert nowhere in done.stderr


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (an address of ours)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
