"""One slot of the process pool: a thread that owns one child at a time, and sees how it ends.

What the two say to each other, in frames (``carry`` has those of records and results)::

    child -> parent   ready | unable      the app is imported, or cannot be
    parent -> child   job                 a record to run
    child -> parent   begun               from here on the child's end is that job's crash
    parent <-> child  schema              a writer schema, asked and answered
    child -> parent   decoded             the job's name
    child -> parent   result
    parent -> child   stop | go-on        the job's partition is given back; the next one's is not
    parent -> child   end                 no more jobs
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamjobs.clock import monotonic
from streamjobs.engine.records import Record, Run
from streamjobs.engine.results import INTERRUPTED, RELEASED, Crashed, Failed
from streamjobs.errors import InvalidRecord, SchemaUnavailable
from streamjobs.executors.carry import MakeChild, read_result, write_record
from streamjobs.executors.child import Child, ChildGone
from streamjobs.executors.frames import Frame, FrameError, pack
from streamjobs.executors.threads import GOES_ON
from streamjobs.headers import Failure

logger = logging.getLogger("streamjobs.worker")

# Seconds between looks at whether what a child runs still should run.
TICK = 0.1
# Seconds a child may take to import the app.
START_TIMEOUT = 60.0
# Seconds before the next try when no child could be started; doubled up to the second.
START_RETRY, START_RETRY_MAX = 1.0, 15.0


@dataclass(frozen=True, slots=True)
class ChildRecipe:
    """How to make a child, and what it may ask.

    Attributes:
        command: what to run; the numbers of its pipes and its parent's process id are appended.
        folder: where.
        schema: returns the writer schema that a record's leading bytes refer to, or raises
            ``InvalidRecord`` or ``SchemaUnavailable``; safe from every thread.
        make_child: makes what is produced of a child job's topic, key and value.
    """

    command: Sequence[str]
    folder: str
    schema: Callable[[bytes], str]
    make_child: MakeChild


class Pool(Protocol):
    """What a slot needs of its pool."""

    halted: bool
    stopping: bool
    preparing: bool
    lease: float

    def next(self, slot: Slot, timeout: float | None) -> Run | None:
        """Wait for a run; None after ``timeout`` seconds, or when all is over or to be prepared."""

    def prepares(self, slot: Slot) -> bool:
        """Whether it is this slot that is to have a child ready."""

    def started(self, slot: Slot) -> None:
        """Take note that a slot has started a child, or wants none any more: another may."""

    def prepared(self, slot: Slot, *, ready: bool) -> None:
        """Take note that a slot has a child that waits for a job, or has none any more."""

    def finish(self, record: Record, seconds: float) -> None:
        """Take a record whose result is set, after so many seconds."""

    def release(self, run: Run) -> None:
        """Take back what was not begun."""

    def pause(self, seconds: float, unwanted: Callable[[], bool]) -> None:
        """Wait, and not for what nobody wants any longer."""


class Slot(threading.Thread):
    """One thread with one child at a time.

    Args:
        pool: whose runs.
        recipe: of the child.
        idle: seconds after which a child without work is ended.
        name: the thread's.

    Attributes:
        record: what is being attempted, or is about to be.
        ready: whether its child waits for a job; changed by the pool.
    """

    def __init__(self, pool: Pool, recipe: ChildRecipe, idle: float, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pool, self._recipe, self._idle = pool, recipe, idle
        self._child: Child | None = None
        self._inbox: deque[Frame] = deque()
        self._told_halted = False
        self._began = 0.0
        self.record: Record | None = None
        self.ready = False

    def run(self) -> None:
        """Run what is ready until the pool is stopped."""
        pool = self._pool
        while not pool.stopping:
            run = pool.next(self, None if self._child is None else self._idle)
            if run is not None:
                self._execute(run)
                self.record = None
                pool.prepared(self, ready=self._child is not None)
            elif pool.prepares(self):
                self._prepare()
            else:
                self._let_go()
        self._let_go()

    def _prepare(self) -> None:
        """Start a child for what may come."""

        def unwanted() -> bool:
            return self._pool.stopping or not self._pool.preparing

        child = self._new_child(unwanted, "what is to be tried alone")
        self._pool.prepared(self, ready=child is not None)

    def _execute(self, run: Run) -> None:
        for index, record in enumerate(run):
            self.record = record  # before it is asked whether it may begin, as in ``threads``
            if self._unwanted(record, begun=False):
                self._pool.release(run[index:])
                return
            self._began = monotonic()
            try:
                self._attempt(record)
            except Exception as error:
                # A defect of ours must not leave a job in nobody's hands.
                logger.exception("running a job in a child process failed")
                self._drop()
                record.result = Failed(Failure(type(error).__name__, f"in the worker: {error}", ""))
            if record.result is RELEASED:
                self._pool.release(run[index:])
                return
            # Asked before it is given away, as in ``threads``.
            goes_on = record.result is None or isinstance(record.result, GOES_ON)
            self._pool.finish(record, monotonic() - self._began)
            if not goes_on:
                self._pool.release(run[index + 1 :])
                return

    # -- a job -------------------------------------------------------------------------------

    def _attempt(self, record: Record) -> None:
        """Leave a result in a record; a child that ends before it has begun is not its doing."""
        while (child := self._ready_child(record)) is not None:
            child.send(write_record(record))
            try:
                # It may have begun as soon as it was sent, before that is told here.
                begun = self._next_frame(child, record)
            except (ChildGone, FrameError) as error:
                logger.warning("a child process, pid %d, without a job: %s", child.pid, error)
                self._drop()
                continue
            if begun is None:
                self._drop()
                break
            self._began = monotonic()
            self._see_through(child, record)
            return
        record.result = RELEASED

    def _see_through(self, child: Child, record: Record) -> None:
        """Serve a child that runs a job until it has a result, or has none and never will."""
        record.job = None
        try:
            while (frame := self._next_frame(child, record)) is not None:
                if frame.kind == "schema":
                    child.send(self._answer(frame))
                elif frame.kind == "decoded":
                    record.job = frame.fields.get("job")
                else:
                    read_result(frame, record, self._recipe.make_child)
                    return
        except ChildGone as gone:
            self._drop()
            self._crashed(record, child, gone.status, str(gone))
        except FrameError as error:
            self._drop()
            self._crashed(record, child, child.kill(), f"wrote into its worker's pipe: {error}")
        else:
            self._drop()
            record.result = INTERRUPTED

    def _crashed(self, record: Record, child: Child, status: int, how: str) -> None:
        text = f"the process that ran the job {how}"
        log = record.log
        logger.error(
            "%s [%d] at offset %d, job %s: %s (pid %d)",
            *(log.topic, log.partition, record.offset, record.job or "not decoded", text),
            child.pid,
        )
        record.result = Crashed(status, Failure("Crashed", text, ""))

    def _next_frame(self, child: Child, record: Record) -> Frame | None:
        """The child's next word; None when its job is no longer to be run."""
        while not self._inbox:
            if self._unwanted(record, begun=True):
                return None
            halted = self._pool.halted or not record.log.begins
            if halted is not self._told_halted:
                self._told_halted = halted
                child.send(pack("stop" if self._told_halted else "go-on"))
            self._inbox.extend(child.exchange(TICK))
        return self._inbox.popleft()

    def _unwanted(self, record: Record, *, begun: bool) -> bool:
        pool = self._pool
        if pool.stopping or not record.log.live:
            return True
        return not begun and (pool.halted or not record.log.begins or monotonic() > pool.lease)

    def _answer(self, frame: Frame) -> bytes:
        (prefix,) = frame.parts
        try:
            return pack("schema", text=self._recipe.schema(prefix or b""))
        except (InvalidRecord, SchemaUnavailable) as error:
            return pack("schema", error=type(error).__name__, message=str(error))
        except Exception as error:  # noqa: BLE001 - the attempt fails by it, as in a thread
            return pack("schema", error="", message=f"{type(error).__name__}: {error}")

    # -- the child ---------------------------------------------------------------------------

    def _ready_child(self, record: Record) -> Child | None:
        """Return a child that waits for a job; None when the record is no longer to be run.

        Where none can be started the job waits for one: it is not at fault.
        """
        if self._child is not None and not self._child.ended:
            return self._child
        what = f"{record.log.topic} [{record.log.partition}] at offset {record.offset}"
        child = self._new_child(lambda: self._unwanted(record, begun=False), what)
        self._pool.started(self)
        return child

    def _new_child(self, unwanted: Callable[[], bool], what: str) -> Child | None:
        """Start a child, and try on; None when it is wanted no more."""
        pause = START_RETRY
        while not unwanted():
            self._drop()
            try:
                return self._start(unwanted)
            except (OSError, ChildGone, FrameError) as error:
                logger.error(  # noqa: TRY400 - its trace is ours and tells nothing
                    "no child process for %s, next try in %g s: %s", what, pause, error
                )
            except Exception:
                # Without its thread no slot would start a child again.
                logger.exception("no child process for %s, next try in %g s", what, pause)
            self._drop()
            self._pool.pause(pause, unwanted)
            pause = min(2 * pause, START_RETRY_MAX)
        return None

    def _start(self, unwanted: Callable[[], bool]) -> Child | None:
        self._child = child = Child(self._recipe.command, self._recipe.folder)
        deadline = monotonic() + START_TIMEOUT
        while monotonic() < deadline:
            if unwanted():
                self._drop()
                return None
            for frame in child.exchange(TICK):
                if frame.kind == "ready":
                    return child
                raise FrameError(f"it says {frame.kind}: {frame.fields.get('message')}")
        raise TimeoutError(f"its app was not imported within {START_TIMEOUT:g} s")

    def _let_go(self) -> None:
        """Have an idle child end by itself, so that what it does at its exit is done."""
        if self._child is not None:
            self._pool.prepared(self, ready=False)
            self._child.end()
            self._child = None

    def _drop(self) -> None:
        """End the child if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child = None
        self._inbox.clear()
        self._told_halted = False
