"""``streamjobs broker`` on a machine that has a Docker engine and no Java."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.brokers.jars import fetch_jars
from streamjobs.kafka.brokers.properties import HOST
from streamjobs.topics import TopicSpec

SETUP = Path(__file__).parent / "kafka_image" / "setup.sh"
NOT_HERE = 77

# From an empty folder: Debian's packages, an image put together from them, a broker in it.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of an image of Kafka in an engine that runs."""
    work = tmp_path_factory.mktemp("engine")
    jars = fetch_jars(shutil.which("mvn"), print)
    done = subprocess.run(
        [SETUP, work, jars],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    try:
        if done.returncode == NOT_HERE and os.environ.get("CI", "").lower() != "true":
            pytest.skip("no Docker engine, and none could be set up: run as root, or start one")
        assert done.returncode == 0, f"{SETUP.name} failed: its errors are above"
        yield done.stdout.strip()
    finally:
        stop_engine(work)


def stop_engine(work: Path) -> None:
    """Stop the engine that the script started, if it did; wait until its folders are free."""
    pidfile = work / "pid"
    if not pidfile.exists():
        return
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + 60
    while pidfile.exists():  # dockerd removes it as the last thing it does
        assert time.monotonic() < deadline, "the Docker engine did not stop"
        time.sleep(0.1)
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def environment(image: str, tmp_path: Path) -> dict[str, str]:
    """A machine without Java; what testcontainers starts is on its loopback."""
    gone = ("PATH", "JAVA_HOME", "KAFKA_HOME", "STREAMJOBS_TEST_BOOTSTRAP")
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return {
        **kept,
        "PATH": str(tmp_path),
        "STREAMJOBS_KAFKA_IMAGE": image,
        "TESTCONTAINERS_RYUK_DISABLED": "true",
        "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
        "TESTCONTAINERS_HOST_OVERRIDE": HOST,
    }


def containers(image: str) -> str:
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"ancestor={image}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_container_serves_transactions_and_is_removed(
    environment: dict[str, str], image: str, app_name: str
) -> None:
    before = containers(image)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamjobs.cli.main", "broker", "--engine", "auto"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    try:
        Broker(address).create_topics([TopicSpec(app_name, 2)])
        assert round_trip(address, app_name) == b"from a transaction"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        _, said = process.communicate(timeout=30)

    assert process.returncode == 0, said
    assert address.startswith(f"{HOST}:")
    assert "Apache Kafka (Docker engine at " in said
    assert containers(image) == before


def round_trip(address: str, topic: str) -> bytes | None:
    """Produce in a transaction, whose markers the broker writes over its inner listener."""
    producer = Producer({"bootstrap.servers": address, "transactional.id": topic, "log_level": "0"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, "from a transaction")
    producer.commit_transaction(30)
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": topic,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    message = consumer.poll(30)
    consumer.close()
    return message.value() if message else None
