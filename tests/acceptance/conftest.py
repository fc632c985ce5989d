"""The real command in real processes, in a folder with an app of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

COMMAND = Path(sys.executable).with_name("streamjobs")

APP = """\
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from streamjobs import App, Context, DeadLetter, Retry

app = App("NAME")
app.queue("mail", partitions=2, retry=Retry(delays=("1s",)))
app.queue("slow", partitions=1, retry=Retry(delays=("1m",)))

Money = Annotated[Decimal, Field(max_digits=20, decimal_places=2)]


@app.job(queue="mail", key="customer")
def send_mail(
    ctx: Context, customer: int, template: str = "welcome", due: Money | None = None
) -> None:
    if template == "dead":
        raise DeadLetter("no such \\x1b[31mtemplate")
    if template == "fail":
        raise ValueError("boom")


@app.job(queue="slow", key="customer")
def send_late(customer: int) -> None:
    raise ValueError("not yet")
"""


@dataclass
class Done:
    """What a command that has ended left behind."""

    code: int
    out: str
    err: str

    def lines(self) -> list[Any]:
        """Standard output, each line as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    def value(self) -> Any:
        """Standard output, one line of JSON."""
        (value,) = self.lines()
        return value


@dataclass
class Shop:
    """A folder with ``shop.py``, and the command to be run in it."""

    name: str
    folder: Path
    bootstrap: str
    protocol: GroupProtocol
    more: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, stdin: bytes = b"", expect: int = 0) -> Done:
        """Run ``streamjobs -A shop:app ARGUMENTS`` to its end."""
        return self.bare("-A", "shop:app", *arguments, stdin=stdin, expect=expect)

    def bare(self, *arguments: str, stdin: bytes = b"", expect: int = 0) -> Done:
        """Run ``streamjobs ARGUMENTS`` to its end."""
        done = subprocess.run(
            [COMMAND, *arguments],
            check=False,
            cwd=self.folder,
            env=self.environ(),
            input=stdin,
            capture_output=True,
            timeout=90,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == expect, f"exit {done.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return Done(done.returncode, out, err)

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin a command with pipes to all its ends; the test has to see it end."""
        return subprocess.Popen(
            [str(COMMAND), "-A", "shop:app", *arguments],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command beside the test; SIGTERM ends it, and that has to be in good order."""
        command = [str(COMMAND), "-A", "shop:app", *arguments]
        log = (self.folder / "command.log").open("wb")
        with log, subprocess.Popen(command, cwd=self.folder, env=self.environ(), stderr=log) as it:
            try:
                yield it
            finally:
                it.terminate()
        assert it.returncode == 0, (self.folder / "command.log").read_text()

    def environ(self) -> dict[str, str]:
        """The environment of the commands: of streamjobs' variables, only those set here."""
        clean = {n: v for n, v in os.environ.items() if not n.startswith("STREAMJOBS_")}
        return {
            **clean,
            "STREAMJOBS_BOOTSTRAP_SERVERS": self.bootstrap,
            "STREAMJOBS_GROUP_PROTOCOL": self.protocol,
            **self.more,
        }

    def write(self, name: str, data: bytes) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_bytes(data)
        return path


@pytest.fixture
def make_shop(
    tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Callable[[str], Shop]:
    """Make a shop on the broker at an address."""

    def make(bootstrap: str) -> Shop:
        (tmp_path / "shop.py").write_text(APP.replace("NAME", app_name))
        return Shop(app_name, tmp_path, bootstrap, group_protocol)

    return make


@pytest.fixture
def shop(make_shop: Callable[[str], Shop], kafka_broker: Broker) -> Shop:
    """A shop on Apache Kafka whose topics are there."""
    made = make_shop(kafka_broker.bootstrap)
    made.run("topics", "apply")
    return made
