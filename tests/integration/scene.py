"""A scene: an app in a module of its own, real worker processes, and a journal of what ran."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from streamjobs.app import App
from streamjobs.cli.app_loader import load_app
from streamjobs.clock import monotonic
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.config import admin_config
from streamjobs.kafka.reader import Record, read
from streamjobs.testing import GroupProtocol

# What every scene's module begins with. A line is one write: it survives the process's SIGKILL.
# A test loads the module too: what is changed inside of the product is changed IN_WORKER alone,
# or all later tests of the same process have it.
PRELUDE = """
import os, signal, threading, time
from streamjobs import App, Context, DeadLetter, Discard, Retry, RetryAfter, current_context

IN_WORKER = "SCENE_WORKER" in os.environ
JOURNAL = os.open(os.environ["SCENE_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(JOURNAL, (" ".join(map(str, words)) + "\\n").encode())

def wait_for(name):  # until the test makes a file of that name
    path = os.path.join(os.path.dirname(os.environ["SCENE_JOURNAL"]), name)
    while not os.path.exists(path):
        time.sleep(0.01)

app = App(os.environ["SCENE_APP"])
"""
CHANGES_AT_ONCE = re.compile(r"^\w+(\.\w+)+.* = ", re.MULTILINE)


def eventually(true: Callable[[], Any], what: str, within: float = 30.0) -> Any:
    """Ask until the answer is true; the answer is returned."""
    deadline = monotonic() + within
    pause = threading.Event()
    while True:
        if answer := true():
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}")
        pause.wait(0.05)


@dataclass
class WorkerProcess:
    """A running ``streamjobs worker``."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def errors(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self, within: float = 30.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float = 60.0) -> int:
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within:g} s:\n{self.errors}") from None

    def metrics(self) -> dict[str, float]:
        """What ``/metrics`` says now, by name and labels; for a worker with ``--http 0``."""
        lines = self.http("/metrics").splitlines()
        return {x.rsplit(" ", 1)[0]: float(x.rsplit(" ", 1)[1]) for x in lines if x[0] != "#"}

    def http(self, path: str) -> str:
        """What a worker with ``--http 0`` answers; an error when that is not 200."""
        found = eventually(lambda: re.search(r"HTTP on (127.0.0.1:\d+)", self.errors), "HTTP")
        with urllib.request.urlopen(f"http://{found[1]}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def report(self) -> dict[str, Any]:
        """The closing report of a worker with one queue."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().splitlines()
        assert lines, self.errors
        report: dict[str, Any] = json.loads(lines[-1])
        return report


@dataclass
class Scene:
    """One app on one broker, its processes and its journal."""

    folder: Path
    name: str
    module: str
    environment: dict[str, str]
    app: App
    processes: list[WorkerProcess] = field(default_factory=list)

    def job(self, name: str) -> Any:
        """A job of the scene's module."""
        return getattr(sys.modules[self.module], name)

    def create_topics(self) -> None:
        with Admin(self.app.settings) as admin:
            if admin.embedded:
                return  # it made them when it started
            admin.apply(admin.plan(self.app.registry.topic_specs(self.app.prefix)))

    def worker(self, *arguments: str, queue: str = "mail", **environment: str) -> WorkerProcess:
        log = self.folder / f"worker-{len(self.processes)}.log"
        with log.open("w", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "streamjobs.cli.main", "-A", f"{self.module}:app"),
                    *("worker", "-q", queue, "--json", *arguments),
                ],
                cwd=self.folder,
                env={**self.environment, "SCENE_WORKER": "yes", **environment},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.processes.append(WorkerProcess(process, log))
        return self.processes[-1]

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command; the test has to see it end."""
        return subprocess.Popen(
            [sys.executable, "-m", "streamjobs.cli.main", "-A", f"{self.module}:app", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "streamjobs.cli.main", "-A", f"{self.module}:app", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )

    def signal(self, name: str) -> None:
        """Let handlers that wait for ``name`` go on."""
        (self.folder / name).touch()

    def note(self, *words: str) -> None:
        """Write a line into the journal, as handlers do."""
        with (self.folder / "journal").open("a", encoding="utf-8") as journal:
            journal.write(" ".join(words) + "\n")

    @property
    def journal(self) -> list[list[str]]:
        path = self.folder / "journal"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [line.split() for line in text.splitlines()]

    def noted(self, kind: str) -> Counter[str]:
        """How often each ``note(kind, id)`` was written."""
        return Counter(words[1] for words in self.journal if words[0] == kind)

    def dead(self, queue: str = "mail") -> list[dict[str, Any]]:
        """The dead letters as ``dlq list --json`` tells them."""
        done = self.command("dlq", "list", "-q", queue, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def records(self, topic: str) -> list[Record]:
        """What lies in ``APP.TOPIC``, as it lies there."""
        name = f"{self.name}.{topic}"
        with Admin(self.app.settings) as admin:
            partitions = admin.topics([name])[name].partitions
            logs = admin.watermarks([(name, p) for p in range(partitions)])
        return list(read(self.app.settings, {p: (x.start, x.end) for p, x in logs.items()}))

    def limit(self, topic: str, largest: int) -> None:
        """Set the largest message that ``APP.TOPIC`` takes, in bytes."""
        self.alter(topic, "max.message.bytes", str(largest))

    def alter(self, topic: str, setting: str, value: str) -> None:
        """Change a setting of ``APP.TOPIC``, and wait until the broker has heard of it.

        The controller says that it is done before that.
        """
        admin = AdminClient(admin_config(self.app.settings))
        entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(
            ConfigResource.Type.TOPIC, f"{self.name}.{topic}", incremental_configs=[entry]
        )
        answers: dict[Any, Any] = admin.incremental_alter_configs([resource])
        for answer in answers.values():
            answer.result(10)
        asked = ConfigResource(ConfigResource.Type.TOPIC, f"{self.name}.{topic}")

        def told() -> str | None:
            entries: Any = admin.describe_configs([asked])[asked].result(10)
            text: str | None = entries[setting].value
            return text

        eventually(lambda: told() == value, f"{setting} is {value}")

    def delete(self, topic: str) -> None:
        """Delete ``APP.TOPIC``, and wait until the broker has it no more."""
        admin, name = AdminClient(admin_config(self.app.settings)), f"{self.name}.{topic}"
        admin.delete_topics([name])[name].result(10)
        eventually(lambda: name not in admin.list_topics(timeout=5).topics, "the topic is gone")

    def committed(self, partition: int, queue: str = "mail") -> int | None:
        """What the queue's group has committed of a partition of its main topic."""
        place = (f"{self.name}.{queue}", partition)
        with Admin(self.app.settings) as admin:
            return admin.committed(place[0], [place]).get(place)

    def lag(self, queue: str = "mail") -> int:
        """How many offsets of the main topic's partitions are not committed."""
        name = f"{self.name}.{queue}"
        with Admin(self.app.settings) as admin:
            partitions = [(name, p) for p in range(admin.topics([name])[name].partitions)]
            done = admin.committed(name, partitions)
            logs = admin.watermarks(partitions)
        return sum(log.end - done.get(place, log.start) for place, log in logs.items())


def short_session(protocol: GroupProtocol) -> dict[str, str]:
    """Settings of a scene whose group forgets a killed worker after 6 s, and not after 15.

    With KIP-848 that is the brokers' to say, and development brokers say so.
    """
    return {"kafka_session_timeout_ms": "6000"} if protocol == "classic" else {}


def long_sessions(protocol: GroupProtocol) -> dict[str, str]:
    """Settings of a scene whose classic group remembers who stood still for up to 45 s.

    With KIP-848 that is the brokers' to say: see ``long_session``.
    """
    return {"kafka_session_timeout_ms": "45000"} if protocol == "classic" else {}


def long_session(scene: Scene, queue: str = "mail", *, mixed: bool = False) -> None:
    """Have a KIP-848 group remember who stood still for up to 45 s, as it is by default.

    For where no attempt may be made twice: development brokers forget a member after 6 s.

    Args:
        scene: whose group.
        queue: the group's.
        mixed: whether members will speak both protocols.
    """
    if mixed or scene.app.settings.group_protocol == "consumer":
        with Admin(scene.app.settings) as admin:
            admin.set_session_timeout([f"{scene.name}.{queue}"], 45_000)


def refusal(worker: WorkerProcess) -> str:
    """Why a worker with ``--http 0`` is not ready; empty when it is."""
    try:
        worker.http("/readyz")
    except HTTPError as error:
        return error.read().decode()
    return ""


MakeScene = Callable[..., Scene]


@contextmanager
def scene_of(
    source: str, *, folder: Path, name: str, bootstrap: str, **settings: str
) -> Iterator[Scene]:
    """Write the module, load it here and for the workers, create the topics; end what is left."""
    assert not CHANGES_AT_ONCE.search(source), "change what is the product's IN_WORKER alone"
    module = "scene_" + name.replace("-", "_")
    (folder / f"{module}.py").write_text(PRELUDE + source, encoding="utf-8")
    own = {
        "SCENE_APP": name,
        "SCENE_JOURNAL": str(folder / "journal"),
        "STREAMJOBS_BOOTSTRAP_SERVERS": bootstrap,
        **{f"STREAMJOBS_{key.upper()}": value for key, value in settings.items()},
    }
    before = {key: os.environ.get(key) for key in own}
    os.environ.update(own)
    sys.path.insert(0, str(folder))
    app = load_app(f"{module}:app")
    scene = Scene(folder, name, module, dict(os.environ), app)
    try:
        scene.create_topics()
        yield scene
    finally:
        for worker in scene.processes:
            if worker.process.poll() is None:
                worker.kill()
            if worker.process.stdout is not None:
                worker.process.stdout.close()
        app.close()
        sys.path.remove(str(folder))
        sys.modules.pop(module, None)
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
