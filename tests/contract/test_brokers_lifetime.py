"""A broker ends with its owner, however the owner ends, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers import apache, start_broker
from streamjobs.testing import need_kafka

OWNER = """
import os, sys, time
from streamjobs.kafka.brokers import apache, start_broker
broker = start_broker(sys.argv[1])
if os.fork() == 0:   # holds every descriptor of the owner open, and outlives it
    time.sleep(60)
    os._exit(0)
print(broker.bootstrap, flush=True)
time.sleep(60)
"""


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_gone(address: str, folder: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while answers(address) or any(folder.iterdir()):
        assert time.monotonic() < deadline, f"{address} or {list(folder.iterdir())} is left"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that brokers started by the test keep their data in."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("STREAMJOBS_TEST_BOOTSTRAP", raising=False)
    return tmp_path


@pytest.fixture(params=["embedded", "kafka"])
def engine(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "kafka":
        need_kafka(nodes=3)
    return str(request.param)


def test_a_killed_owner_takes_its_broker_along(engine: str, folder: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, engine],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    address = owner.stdout.readline().strip()
    assert answers(address)
    try:
        owner.kill()
        owner.wait()
        if engine == "kafka":
            wait_until_gone(address, folder)
    finally:
        os.killpg(owner.pid, signal.SIGKILL)  # the forked child
        owner.stdout.close()
    wait_until_gone(address, folder)


def test_stop_may_be_called_any_number_of_times(engine: str, folder: Path) -> None:
    broker = start_broker(engine, say=lambda _: None)  # type: ignore[arg-type]  # parametrised
    assert broker.engine == engine
    assert answers(broker.bootstrap)

    with broker:
        broker.stop()
        broker.stop()

    wait_until_gone(broker.bootstrap, folder)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    need_kafka(nodes=3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerSetupError, match=f"port {port} on 127.0.0.1 is taken"):
            start_broker("kafka", port=port)
    assert not any(folder.iterdir())


def test_a_port_that_somebody_takes_just_before_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_kafka(nodes=3)
    find = apache._free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = [taken.getsockname()[1]]

        def mistaken(count: int, avoid: Sequence[int]) -> list[int]:
            return [*find(count, avoid)[len(first) :], *(first.pop() for _ in list(first))]

        monkeypatch.setattr(apache, "_free_ports", mistaken)
        with start_broker("kafka", say=lambda _: None) as broker:
            assert not broker.bootstrap.endswith(f":{taken.getsockname()[1]}")
            assert len(list(folder.iterdir())) == 1


def test_a_node_that_does_not_start_shows_the_end_of_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_kafka(nodes=3)
    monkeypatch.setattr(apache, "_STARTED", b"never in a log")
    monkeypatch.setattr(apache, "_START_SECONDS", 15.0)
    with pytest.raises(BrokerSetupError, match=r"is not up yet:\n[\s\S]*INFO"):
        start_broker("kafka", say=lambda _: None)
    assert not any(folder.iterdir())
