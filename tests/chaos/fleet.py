"""The worker processes of a campaign: real command lines, each incarnation numbered."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from chaos.hits import Hits
from chaos.orders import Order, Orders
from history.events import Event, Kind
from history.model import SECOND, Fault, Hit, Process

from streamjobs.failpoints import VARIABLE

TESTS = Path(__file__).parents[1]
TIED = Path(__file__).with_name("tied.py")
CONCURRENCY = "4"


class Fleet:
    """Starts workers up to a target, replaces those that die, and notes what is done to them.

    Args:
        folder: for journals, hits and logs.
        environment: of the workers.
        draw: chooses workers.
        orders: what they are told to do at failpoints.
        session: seconds after which a silent worker is cut off.

    Attributes:
        processes: by incarnation, of all that ever started.
        faults: what was done to them.
        target: how many there are to be.
        calm: whether nobody gets an order, nor stays asleep.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        draw: random.Random,
        orders: Orders,
        session: float,
    ) -> None:
        self._folder, self._environment, self._draw = folder, environment, draw
        self._orders, self._session = orders, session
        self._hits, self._joined = Hits(folder / "hits"), set[int]()
        self._ordered: dict[int, Order] = {}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._asleep: dict[int, tuple[int, int]] = {}  # worker: stopped at, to be woken at
        self._leaving: set[int] = set()
        self._spawn_after = 0
        self.processes: dict[int, Process] = {}
        self.faults: list[Fault] = []
        self.target, self.calm = 0, False

    # -- what is done to them ----------------------------------------------------------------

    def kill(self, *, pause: float = 0.0) -> int | None:
        """SIGKILL one; it is replaced after ``pause`` seconds. Returns which, if there was one."""
        if worker := self._choose():
            self.processes[worker].killed = self.note(f"kill worker {worker}")
            self._running[worker].kill()
            self._spawn_after = time.monotonic_ns() + round(pause * SECOND)
        return worker

    def halt(self, seconds: float) -> None:
        """SIGSTOP one and wake it later."""
        if worker := self._choose():
            now = self.note(f"halt worker {worker}", seconds)
            self._asleep[worker] = (now, now + round(seconds * SECOND))
            self._running[worker].send_signal(signal.SIGSTOP)

    def stop_one(self) -> None:
        """SIGTERM one; it is replaced."""
        if worker := self._choose():
            self._stop(worker)

    def scale(self, target: int) -> None:
        """Have so many: the surplus is told to stop."""
        way = "up" if target > len(self._staying()) else "down"
        self.note(f"scale {way} to {target}")
        self.target = target
        # Those that have an order to carry out are the last to go.
        for worker in sorted(self._staying(), key=lambda w: w not in self._ordered)[target:]:
            if worker not in self._asleep:
                self._stop(worker)

    def start(self, order: Order | None = None) -> int:
        """Start one, whatever the target is; returns which."""
        worker = len(self.processes) + 1
        text = "" if order is None else order.text
        self.note(f"start worker {worker} {text}".rstrip())
        environment = {
            **self._environment,
            "CHAOS_WORKER": str(worker),
            VARIABLE: f"{self._hits.path}{text}",
        }
        tied = [sys.executable, "-I", "-S", str(TIED), str(os.getpid())]
        command = [*tied, sys.executable, "-m", "streamjobs.cli.main", "-A", "chaos.app:app"]
        with (self._folder / f"worker-{worker}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "worker", "-q", "work", "--concurrency", CONCURRENCY],
                cwd=TESTS,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self._running[worker] = process
        self.processes[worker] = Process(worker, process.pid, time.monotonic_ns())
        if order is not None:
            self._ordered[worker] = order
        return worker

    def note(self, what: str, seconds: float = 0.0) -> int:
        """Remember what is done now; returns the time."""
        now = time.monotonic_ns()
        self.faults.append(Fault(now, now + round(seconds * SECOND), what))
        return now

    # -- what it does by itself --------------------------------------------------------------

    def tick(self) -> None:
        """Notice who has ended or stopped itself, wake who has slept enough, start the missing."""
        now = time.monotonic_ns()
        self._read_hits()
        for worker, process in list(self._running.items()):
            if (code := process.poll()) is not None:
                self._gone(worker, code, now)
            elif worker not in self._asleep and _is_stopped(process.pid):
                self.note(f"worker {worker} has stopped itself", self._session + 2)
                self._asleep[worker] = (now, now + round((self._session + 2) * SECOND))
        for worker, (begin, end) in list(self._asleep.items()):
            if now >= end or self.calm:
                self._wake(worker, begin)
        if len(self._staying()) < self.target and now >= self._spawn_after:
            self.start(None if self.calm else self._orders.deal())

    @property
    def quiet(self) -> bool:
        """Whether all that should run runs, and nobody sleeps or is leaving.

        One that slept when all but so many were told to stop runs on.
        """
        return not self._asleep and not self._leaving and len(self._staying()) >= self.target

    def end(self, within: float) -> None:
        """Have all of them stop in good order, and kill those that do not in time."""
        self.calm, self.target = True, 0
        self.tick()
        for worker in self._staying():
            self._stop(worker)
        deadline = time.monotonic() + within
        while self._running and time.monotonic() < deadline:
            self.tick()
            time.sleep(0.02)
        self.destroy()

    def destroy(self) -> None:
        """SIGKILL whoever is left; not noted as killed: nobody should be left."""
        for worker, process in self._running.items():
            self.note(f"worker {worker} does not end: its log tells where it stands")
            process.send_signal(signal.SIGUSR1)
        if self._running:
            time.sleep(0.5)
        for process in self._running.values():
            process.kill()
        for worker, process in list(self._running.items()):
            self._gone(worker, process.wait(), time.monotonic_ns())

    def hits(self) -> list[Hit]:
        """What the workers passed so far."""
        self._read_hits()
        return self._hits.all

    def killed_by(self, events: Iterable[Event]) -> None:
        """Take in which workers were killed by a job of theirs."""
        for event in events:
            process = self.processes.get(event.worker)
            if event.kind is Kind.KILLED and process is not None and process.pid == event.pid:
                process.killed = event.at
                what = f"worker {process.worker} was killed by job {event.job}"
                self.faults.append(Fault(event.at, event.at, what))

    # -- inside ------------------------------------------------------------------------------

    def _read_hits(self) -> None:
        """Take in who has joined, and who died at a failpoint, or is about to stop at one."""
        by_pid = {p.pid: p for p in self.processes.values()}
        for hit in self._hits.read_on():
            process = by_pid[hit.pid]
            if hit.name == "loop.assigned":
                self._joined.add(hit.pid)
            if hit.action == "kill":
                process.killed = hit.at
                self.faults.append(Fault(hit.at, hit.at, f"worker {process.worker}: {hit.name}"))
            order = self._ordered.get(process.worker)
            if order is not None and hit.action != "-" and hit.name == order.point:
                del self._ordered[process.worker]

    def _choose(self) -> int | None:
        """One that is in its group; of those that have an order only where there is no other."""
        ready = self.ready()
        free = [worker for worker in ready if worker not in self._ordered]
        return self._draw.choice(free or ready) if ready else None

    def ready(self) -> list[int]:
        """Those that are in their group and awake."""
        self._read_hits()
        return [
            worker
            for worker in self._staying()
            if worker not in self._asleep and self._running[worker].pid in self._joined
        ]

    def _staying(self) -> list[int]:
        return [w for w in self._running if w not in self._leaving]

    def _stop(self, worker: int) -> None:
        self.processes[worker].asked = self.note(f"stop worker {worker}")
        self._leaving.add(worker)
        self._running[worker].terminate()

    def _wake(self, worker: int, begin: int) -> None:
        del self._asleep[worker]
        self.processes[worker].halts.append((begin, time.monotonic_ns()))
        self._running[worker].send_signal(signal.SIGCONT)

    def _gone(self, worker: int, code: int, now: int) -> None:
        process = self.processes[worker]
        process.ended, process.code = now, code
        if worker in self._asleep:
            process.halts.append((self._asleep.pop(worker)[0], now))
        self._leaving.discard(worker)
        del self._running[worker]
        self._read_hits()
        if (order := self._ordered.pop(worker, None)) is not None:
            self._orders.take_back(order)


def _is_stopped(pid: int) -> bool:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0] == "T"
    return False


def worker_environment(folder: Path, app: str, bootstrap: str, protocol: str) -> dict[str, str]:
    """What the processes of a campaign find in their environment."""
    # Under KIP-848 the session is the development broker's own setting, the same.
    classic = {"STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS": "6000"} if protocol == "classic" else {}
    return {
        **os.environ,
        **classic,
        "PYTHONPATH": str(TESTS),
        "CHAOS_APP": app,
        "CHAOS_FOLDER": str(folder),
        "STREAMJOBS_BOOTSTRAP_SERVERS": bootstrap,
        "STREAMJOBS_GROUP_PROTOCOL": protocol,
    }
