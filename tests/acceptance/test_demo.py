"""The demo as a newcomer runs it: the real command in its own process, fewer flights."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamjobs.kafka.brokers import Broker

DEMO = [sys.executable, "-m", "streamjobs.cli.main", "demo"]
ROWS = "12000"


def environ(**more: str) -> dict[str, str]:
    """This process's environment, with settings of another app that the demo has to ignore."""
    mine = {n: v for n, v in os.environ.items() if not n.startswith("STREAMJOBS_")}
    return {**mine, "STREAMJOBS_BOOTSTRAP_SERVERS": "127.0.0.1:9", **more}


def demo(*options: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *options], env=environ(**more), capture_output=True, text=True, check=False
    )


def check(result: dict[str, object]) -> None:
    """The counts of the first 12,000 flights of the year, which follow from the rules."""
    assert result["problems"] == []
    counts = [result[name] for name in ("enqueued", "succeeded", "retried", "discarded", "dead")]
    assert counts == [12_000, 11_902, 265, 24, 74]
    assert result["aircraft"] == 2_612
    assert result["order_violations"] == 0


@pytest.mark.timeout(180)
def test_on_apache_kafka_every_flight_ends_as_computed(kafka_broker: Broker) -> None:
    done = demo("--rows", ROWS, "--json", STREAMJOBS_TEST_BOOTSTRAP=kafka_broker.bootstrap)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


@pytest.mark.timeout(180)
def test_on_the_embedded_broker_too_with_its_limits_said_and_a_table() -> None:
    done = demo("--rows", ROWS, "--engine", "embedded")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "last 5 MiB" in done.stderr
    assert "12,000 flights as jobs (embedded broker)" in done.stdout
    for row in ("enqueued", "succeeded", "retried", "discarded", "dead", "jobs/s"):
        assert row in done.stdout
    assert "order violations" in done.stdout
    assert "aircraft have the same flights" in done.stdout
    assert "no tail number: discarded" in done.stdout
    # no terminal, no progress bars
    assert "━" not in done.stderr


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for child in map(int, task.read_text().split()):
                yield child
                yield from children(child)


def is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return b"--drain" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.timeout(180)
def test_ctrl_c_ends_the_worker_and_the_broker() -> None:
    # given a demo whose worker runs
    running = subprocess.Popen(
        [*DEMO, "--engine", "embedded"],
        env=environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(map(is_worker, started := set(children(running.pid)))):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # when it is interrupted
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    # then it ends as interrupted, and leaves nothing running
    assert running.returncode in {1, 130}, stderr
    deadline = time.monotonic() + 5  # an orphan is reaped by somebody else
    while left := {pid for pid in started if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
