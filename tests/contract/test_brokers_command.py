"""``streamjobs broker`` as scripts use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from streamjobs.cli.main import cli

APP = """
from streamjobs import App
app = App("shop")
app.queue("mail", partitions=5)
"""


def start(*arguments: str, app: Path | None = None) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "STREAMJOBS_APP"}
    return subprocess.Popen(
        [sys.executable, "-m", "streamjobs.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=app,
        env=environment,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_address_stands_alone_and_a_signal_ends_it(number: signal.Signals) -> None:
    process = start("broker", "--engine", "embedded")

    address = first_line(process)
    process.send_signal(number)
    rest, said = process.communicate(timeout=60)

    assert re.fullmatch(r"127\.0\.0\.1:\d+\n", address)
    assert rest == ""
    assert process.returncode == 0
    assert "the embedded broker (asked for)" in said
    assert "all but the last 5 MiB of each partition" in said


@pytest.mark.usefixtures("kafka_broker")
def test_a_real_one_is_chosen_by_itself_and_says_why() -> None:
    process = start("broker")

    address = first_line(process)
    brokers = Producer({"bootstrap.servers": address.strip()}).list_topics(timeout=10).brokers
    process.terminate()
    rest, said = process.communicate(timeout=60)

    assert len(brokers) == 1
    assert re.fullmatch(r"[\w.]+:\d+\n", address)
    assert (rest, process.returncode) == ("", 0)
    assert "streamjobs broker: Apache Kafka (" in said


def test_with_an_app_its_topics_are_there(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    process = start("-A", "shop:app", "broker", "--engine", "embedded", app=tmp_path)
    address = first_line(process).strip()

    topics = Producer({"bootstrap.servers": address}).list_topics(timeout=10).topics
    process.terminate()
    _, said = process.communicate(timeout=60)

    assert len(topics["shop.mail"].partitions) == 5
    assert len(topics["shop.mail.dlq"].partitions) == 5
    assert f"{len(topics)} topics are there" in said


def test_an_app_that_cannot_be_loaded_starts_no_broker() -> None:
    process = start("-A", "no_such_module:app", "broker", "--engine", "embedded")
    said_out, said = process.communicate(timeout=60)
    assert said_out == ""
    assert process.returncode == 2, said
    assert "no_such_module" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--engine", "embedded", "--port", "9092"], 2, "leave out --port"),
        (["--nodes", "2"], 2, "'2' is not one of '1', '3'"),
        (["--port", "0"], 2, "0 is not in the range 1<=x<=65535"),
        (["--engine", "kafka"], 1, "Error: KAFKA_HOME=/no/where has no libs/kafka_2.13-*.jar"),
    ],
)
def test_wrong_usage_and_no_broker_are_told_apart_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    for name in ("STREAMJOBS_TEST_BOOTSTRAP", "STREAMJOBS_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAFKA_HOME", "/no/where")
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its own handlers
    result = CliRunner().invoke(cli, ["broker", *arguments])
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stdout == ""
