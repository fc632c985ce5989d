"""The program of a child process: runs one job at a time for the worker that started it.

Its main thread runs the jobs; another reads the worker's pipe, and ends the process as soon as the
worker is gone: what a job would still do has no owner any more. Linux is asked to do so too, since
a job can keep that thread from running.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NoReturn

from streamjobs.codec import Decoder
from streamjobs.errors import InvalidRecord, SchemaUnavailable, StreamjobsError
from streamjobs.executors.carry import read_record, write_result
from streamjobs.executors.frames import Frame, Unpacker, pack
from streamjobs.job import Envelope, JobDefinition
from streamjobs.worker.attempt import Attempt
from streamjobs.worker.source import Source

# prctl(2): the signal to get when the parent ends.
PR_SET_PDEATHSIG = 1
# Seconds between looks at whether the parent still is the one that started us.
PARENT_CHECK = 1.0
CHUNK = 65_536


class Line:
    """The two pipes to the worker.

    Args:
        down: the file descriptor to read.
        up: the one to write.
        parent: the worker's process id.

    Attributes:
        stopping: set while the worker drains.
    """

    def __init__(self, down: int, up: int, parent: int) -> None:
        self._down, self._up, self._parent = down, up, parent
        self._jobs: SimpleQueue[Frame | None] = SimpleQueue()
        self._answers: SimpleQueue[Frame] = SimpleQueue()
        self._sending = threading.Lock()
        self.stopping = threading.Event()

    def listen(self) -> None:
        """Start the thread that reads, and that ends the process with its parent."""
        threading.Thread(target=self._listen, name="streamjobs-line", daemon=True).start()

    def next_job(self) -> Frame | None:
        """Wait for a job; None when there will be no more."""
        return self._jobs.get()

    def send(self, frame: bytes) -> None:
        """Tell the worker."""
        with self._sending:
            left = memoryview(frame)
            while left:
                left = left[os.write(self._up, left) :]

    def ask(self, frame: bytes) -> Frame:
        """Ask the worker, from the main thread, and wait for its answer."""
        self.send(frame)
        return self._answers.get()

    def _listen(self) -> None:
        try:
            self._read()
        except BaseException:  # noqa: BLE001 - whatever it is, nobody listens to the worker now
            end_at_once()

    def _read(self) -> None:
        unpacker = Unpacker()
        wanted = select.poll()
        wanted.register(self._down, select.POLLIN)
        while True:
            if not wanted.poll(PARENT_CHECK * 1000):
                if os.getppid() != self._parent:
                    end_at_once()
                continue
            data = os.read(self._down, CHUNK)
            if not data:
                end_at_once()
            for frame in unpacker.feed(data):
                self._take(frame)
                if frame.kind == "end":
                    return

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "job":
                self._jobs.put(frame)
            case "schema":
                self._answers.put(frame)
            case "stop":
                self.stopping.set()
            case "go-on":
                self.stopping.clear()
            case "end":
                self._jobs.put(None)


class ParentStore:
    """The worker's schema store, seen through the line: it has the schema already, mostly."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def prefix(self, topic: str, name: str, schema: str) -> bytes:
        """Nothing is encoded with this store; see ``SchemaStore``."""
        raise NotImplementedError(f"{name} for {topic}: a child asks for schemas, {schema} is new")

    def schema(self, prefix: bytes) -> str:
        """Return a writer schema; see ``SchemaStore``.

        Raises:
            InvalidRecord: there is no such schema.
            SchemaUnavailable: the store does not answer.
        """
        fields = self._line.ask(pack("schema", [prefix])).fields
        match fields.get("error"):
            case None:
                text: str = fields["text"]
                return text
            case "InvalidRecord":
                raise InvalidRecord(fields["message"])
            case "SchemaUnavailable":
                raise SchemaUnavailable(fields["message"])
            case _:
                raise StreamjobsError(fields["message"])


class TellingDecoder(Decoder):
    """Tells the worker a job's name before it runs, since a crash tells nothing."""

    def __init__(self, source: Source, line: Line) -> None:
        super().__init__(source.app, source.registry, ParentStore(line))
        self._line = line

    def decode(self, value: bytes | None) -> tuple[JobDefinition, Envelope]:
        """See ``Decoder``."""
        decoded = super().decode(value)
        self._line.send(pack("decoded", job=decoded[0].name))
        return decoded


def run_child(load: Callable[[], Source], down: int, up: int, parent: int) -> None:
    """Run jobs until there are no more.

    Args:
        load: imports the app.
        down: the file descriptor that jobs come from.
        up: the one that results go to.
        parent: the worker's process id.
    """
    die_with(parent)
    faulthandler.enable()
    for inherited in (down, up):
        os.set_inheritable(inherited, False)  # noqa: FBT003 - positional only
    # The worker decides when its children end; whoever signals a whole group or unit means it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    line = Line(down, up, parent)
    line.listen()
    try:
        source = load()
        attempt = Attempt(TellingDecoder(source, line), source.outgoing, line.stopping)
    except BaseException as error:
        line.send(pack("unable", message=f"{type(error).__name__}: {error}"))
        raise
    line.send(pack("ready"))
    run_jobs(line, attempt)


def run_jobs(line: Line, attempt: Callable[[Any], None]) -> None:
    """Run what the worker sends, one after the other."""
    me = os.getpid()
    while (frame := line.next_job()) is not None:
        line.send(pack("begun"))
        record = read_record(frame)
        attempt(record)
        if os.getpid() != me:
            # A copy of this process that the job forked and let return: it speaks for nobody.
            os._exit(0)
        line.send(write_result(record))


def die_with(parent: int) -> None:
    """Have the system end this process when its parent ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        end_at_once()


def end_at_once() -> NoReturn:
    """End this process and what its jobs have started, without a further step of theirs."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
