"""Apache Kafka on this machine: one KRaft node or three, each a child process of ours."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.broker import Broker, wait_for_brokers
from streamjobs.kafka.brokers.properties import HOST, NONE, Place, render, server_properties

_GUARD = Path(__file__).with_name("guard.py")
_LOGGING = Path(__file__).with_name("log4j2.properties")
_CLUSTER_ID = "c3RyZWFtam9icy1kZXYtMQ"  # 16 bytes in URL-safe base64, as StorageTool wants
_STARTED = b"Kafka Server started"
_TAKEN = b"Address already in use"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_TRIES = 3
_TAIL_LINES = 15
_ERROR_LINES = 10
_PORTS = range(20_000, 32_000)


class _PortTaken(BrokerSetupError):
    """Another program took a port between our look and the broker's start."""


@dataclass(frozen=True)
class Kafka:
    """What to run: the ``java`` program and the folder of Kafka's jars."""

    java: str
    libs: Path

    def command(self, main_class: str, *arguments: str, heap_mb: int) -> list[str]:
        """Return a command line for one of Kafka's main classes."""
        return [
            self.java,
            f"-Xmx{heap_mb}m",
            "-XX:TieredStopAtLevel=1",  # starts sooner; a development broker never warms up
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={_LOGGING}",
            "-cp",
            f"{self.libs}/*",
            main_class,
            *arguments,
        ]


class LocalNode:
    """One node: its folder holds ``server.properties``, ``server.log`` and the data."""

    def __init__(self, kafka: Kafka, place: Place, heap_mb: int) -> None:
        self._folder = place.data.parent
        self._log = self._folder / "server.log"
        self._place = place
        self._command = kafka.command(
            "kafka.Kafka", str(self._folder / "server.properties"), heap_mb=heap_mb
        )
        self._guard: subprocess.Popen[bytes] | None = None
        self._read_from = 0

    @property
    def address(self) -> str:
        """Its ``host:port``."""
        return f"{HOST}:{self._place.port}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._guard is not None and self._guard.poll() is None

    def launch(self) -> None:
        """Start the process; ``wait_started`` tells when it serves."""
        if self.running:
            return
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        guard = [sys.executable, "-I", "-S", str(_GUARD)]
        self._guard = subprocess.Popen(
            [*guard, str(os.getpid()), str(self._folder), str(self._log), *self._command],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal reaches the owner only
        )

    def start(self) -> None:
        """Bring it back with its data, and wait until it serves.

        Raises:
            BrokerSetupError: when it does not come up, with the end of its log.
        """
        self.launch()
        self.wait_started(monotonic() + _START_SECONDS)
        wait_for_brokers(self.address, [self.address], timeout=_START_SECONDS)

    def wait_started(self, deadline: float) -> None:
        """Return when the log of this start says that the broker has started.

        Raises:
            _PortTaken: when another program has its port.
            BrokerSetupError: when it ended or was not up at ``deadline``, with its log's end.
        """
        while _STARTED not in (text := self._new_log()):
            if not self.running:
                kind = _PortTaken if _TAKEN in text else BrokerSetupError
                raise kind(f"Kafka on {self.address} did not start:\n{_tail(text)}")
            if monotonic() > deadline:
                raise BrokerSetupError(f"Kafka on {self.address} is not up yet:\n{_tail(text)}")
            time.sleep(0.05)

    def check(self) -> None:
        """See whether it lives, unless ``kill`` or ``stop`` ended it.

        Raises:
            BrokerSetupError: when it has ended by itself, with the end of its log.
        """
        if self._guard is not None and self._guard.poll() is not None:
            raise BrokerSetupError(
                f"Kafka on {self.address} has ended by itself:\n{_tail(self._new_log())}"
            )

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; its data stays."""
        self._order(b"K")

    def stop(self) -> None:
        """Shut it down in good order, or after 15 s with SIGKILL; its data stays."""
        try:
            self._order(b"T")
        except subprocess.TimeoutExpired:
            self._order(b"K")

    def _order(self, letter: bytes) -> None:
        guard = self._guard
        if guard is None or guard.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            guard.stdin.write(letter)
        guard.wait(_STOP_SECONDS)
        guard.stdin.close()
        self._guard = None

    def _new_log(self) -> bytes:
        try:
            with self._log.open("rb") as log:
                log.seek(self._read_from)
                return log.read()
        except FileNotFoundError:
            return b""


class LocalBroker(Broker):
    """One to three nodes that end, data and all, with ``stop`` or with this process."""

    def __init__(self, nodes: Sequence[LocalNode], folder: Path) -> None:
        super().__init__(",".join(node.address for node in nodes), nodes)
        self._local = tuple(nodes)
        self._end = weakref.finalize(self, _end, os.getpid(), tuple(nodes), folder)

    def stop(self) -> None:
        """End it and remove its data."""
        self._end()

    def check(self) -> None:
        """Look after the nodes that were started and not ended by ``kill`` or ``stop``.

        Raises:
            BrokerSetupError: when one has ended by itself, with the end of its log.
        """
        for node in self._local:
            node.check()


def start_local(
    kafka: Kafka,
    *,
    nodes: int = 1,
    port: int | None = None,
    properties: Mapping[str, str] = NONE,
) -> LocalBroker:
    """Format and start a cluster and wait until a client sees all of it.

    Args:
        kafka: what to run.
        nodes: 1 or 3.
        port: of the first node, the others on the next ones; None: any free ones.
        properties: of ``server.properties``, besides ours or in their place.

    Raises:
        BrokerSetupError: when ``port`` is taken, or a node does not start; with its log's end.
    """
    for _ in range(_TRIES - 1 if port is None else 0):
        with contextlib.suppress(_PortTaken):
            return _try_start(kafka, nodes, port, properties)
    return _try_start(kafka, nodes, port, properties)


def _try_start(
    kafka: Kafka, count: int, port: int | None, properties: Mapping[str, str]
) -> LocalBroker:
    folder = Path(tempfile.mkdtemp(prefix="streamjobs-kafka-"))
    heap_mb = 512 if count == 1 else 384
    nodes: list[LocalNode] = []
    try:
        places = _places(folder, count, port)
        _format(kafka, places, properties)
        nodes += [LocalNode(kafka, place, heap_mb) for place in places]
        deadline = monotonic() + _START_SECONDS
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_started(deadline)
        broker = LocalBroker(nodes, folder)
        wait_for_brokers(broker.bootstrap, [n.address for n in nodes], timeout=_START_SECONDS)
    except BaseException:
        _end(os.getpid(), tuple(nodes), folder)
        raise
    return broker


def _end(owner: int, nodes: tuple[LocalNode, ...], folder: Path) -> None:
    """Kill the nodes and remove their data; nothing in a process that was forked off the owner."""
    if os.getpid() != owner:
        return
    for node in nodes:
        node.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _places(folder: Path, count: int, port: int | None) -> list[Place]:
    given = [] if port is None else list(range(port, port + count))
    for taken in (p for p in given if not _is_free(p)):
        raise BrokerSetupError(f"port {taken} on {HOST} is taken: choose another, or none")
    free = _free_ports(2 * count - len(given), avoid=given)
    ports, controllers = (given or free[count:]), free[:count]
    return [
        Place(i + 1, ports[i], controllers[i], folder / f"node-{i + 1}" / "data")
        for i in range(count)
    ]


def _free_ports(count: int, avoid: Sequence[int]) -> list[int]:
    """Return ports nobody listens on.

    From below the range that systems take client ports from (32,768 up on Linux, 49,152 on
    macOS): a client that knocks at a dead node's port there can end up connected to itself,
    and the node could not come back.
    """
    tried = random.sample([p for p in _PORTS if p not in avoid], 200)
    free = [p for p, _ in zip(filter(_is_free, tried), range(count), strict=False)]
    if len(free) < count:
        raise BrokerSetupError(f"no free ports on {HOST} between {_PORTS[0]} and {_PORTS[-1]}")
    return free


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _format(kafka: Kafka, places: list[Place], properties: Mapping[str, str]) -> None:
    """Write each node's settings and format its data folder, all at the same time."""
    running = []
    for place in places:
        settings = place.data.parent / "server.properties"
        place.data.mkdir(parents=True)
        settings.write_text(render(server_properties(place, places, properties)))
        command = kafka.command(
            "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(settings), heap_mb=128
        )
        running.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
    outputs = [(process.communicate(timeout=_START_SECONDS)[0], process) for process in running]
    for output, process in outputs:
        if process.returncode != 0:
            raise BrokerSetupError(f"Kafka's storage could not be formatted:\n{_tail(output)}")


def _tail(text: bytes) -> str:
    """Return the first errors of a log and its end: a failing broker ends in a long goodbye."""
    lines = text.decode(errors="replace").splitlines()
    errors = [x for x in lines[:-_TAIL_LINES] if " ERROR " in x or " FATAL " in x or "Caused" in x]
    shown = [*errors[:_ERROR_LINES], *lines[-_TAIL_LINES:]]
    return "\n".join(shown) or "(nothing in its log)"
