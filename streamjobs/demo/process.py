"""The demo's worker: the real command line in a process of its own, which ends with the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from streamjobs.errors import StreamjobsError
from streamjobs.kafka.brokers import guard

_GUARD = Path(guard.__file__)
_DRAIN_SECONDS = 15.0
_TAIL_LINES = 20


class DemoError(StreamjobsError):
    """The demo could not run to its end; says what happened, with the worker's last lines."""


class WorkerReport(NamedTuple):
    """What workers counted: attempts by outcome; ``seconds`` from first record to last outcome."""

    succeeded: int = 0
    retried: int = 0
    discarded: int = 0
    dead: int = 0
    released: int = 0
    seconds: float = 0.0

    def plus(self, other: WorkerReport) -> WorkerReport:
        """Add the counts of a worker that ran after this one."""
        return WorkerReport(
            self.succeeded + other.succeeded,
            self.retried + other.retried,
            self.discarded + other.discarded,
            self.dead + other.dead,
            self.released + other.released,
            self.seconds + other.seconds,
        )


class Worker:
    """Runs ``streamjobs worker --drain``, again and again while there is more to come.

    A drained worker exits. When it had caught up with the enqueueing for a moment, that was too
    early, and ``keep_running`` starts the next.

    Args:
        command: what to run; its last line of output that begins with a brace is its report.
        environ: its environment, whole.
        folder: where its output goes; removed if this process dies.

    Attributes:
        report: the sum over the workers that have ended.
        starts: how many there were.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self._command, self._environ, self._folder = tuple(command), dict(environ), folder
        self._guard: subprocess.Popen[bytes] | None = None
        self._log = folder / "worker.log"
        self.report, self.starts = WorkerReport(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def keep_running(self) -> None:
        """Start a worker unless one runs.

        Raises:
            DemoError: the last one failed.
        """
        if not self.running():
            self._start()

    def running(self) -> bool:
        """Whether a worker runs; takes in the report of one that has ended.

        Raises:
            DemoError: it failed, or left no report.
        """
        if self._guard is None:
            return False
        code = self._guard.poll()
        if code is None:
            return True
        self._forget()
        if code != 0:
            raise DemoError(f"the worker ended with exit code {code}:\n{self.tail()}")
        self.report = self.report.plus(self._read_report())
        return False

    def stop(self) -> None:
        """End a running worker: it may finish what it has begun, and is killed if that lasts."""
        process = self._guard
        if process is None:
            return
        try:
            self._order(process, b"T")
            process.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._order(process, b"K")
            process.wait()
        self._forget()

    def tail(self) -> str:
        """The last lines the worker wrote."""
        lines = self._log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(it wrote nothing)"

    def _start(self) -> None:
        self._log = self._folder / f"worker-{self.starts}.log"
        self._log.touch()
        # The guard kills the worker when this process is gone, however it went. A session of its
        # own: Ctrl-C in the terminal reaches this process only, which then stops the worker.
        watch = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
        self._guard = subprocess.Popen(
            [*watch, str(self._folder), str(self._log), *self._command],
            stdin=subprocess.PIPE,
            bufsize=0,
            env=self._environ,
            start_new_session=True,
        )
        self.starts += 1

    def _order(self, process: subprocess.Popen[bytes], letter: bytes) -> None:
        if process.stdin is not None and process.poll() is None:
            process.stdin.write(letter)

    def _forget(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard = None

    def _read_report(self) -> WorkerReport:
        for line in reversed(self._log.read_text("utf-8", "replace").splitlines()):
            if line.startswith("{"):
                said = json.loads(line)
                return WorkerReport(*(said[name] for name in WorkerReport._fields))
        raise DemoError(f"the worker ended without a report:\n{self.tail()}")
