"""A broker ends with its owner, however the owner ends, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers import Broker, start_broker, why_no_kafka

OWNER = """
import os, sys, time
from streamjobs.kafka.brokers import start_broker
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


def wait_until_gone(address: str, folder: Path, seconds: float = 5.0) -> None:
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
        request.getfixturevalue("kafka_broker")  # skips or fails where there is no way to one
        if why_no_kafka(nodes=3):
            pytest.skip("needs nodes of our own: Java")
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


def test_a_port_that_is_taken_is_named(kafka_broker: Broker, folder: Path) -> None:
    port = int(kafka_broker.bootstrap.rpartition(":")[2])
    with pytest.raises(BrokerSetupError, match=f"port {port} on 127.0.0.1 is taken"):
        start_broker("kafka", port=port)
    assert not any(folder.iterdir())
