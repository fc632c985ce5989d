"""Attempts in real child processes, and how their ends are seen; no broker is needed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from unit.engine.drive import FakeMessage

from streamjobs.cli.app_loader import load_app
from streamjobs.cli.child import child_command
from streamjobs.clock import monotonic
from streamjobs.codec import MemorySchemaStore
from streamjobs.engine.records import Log, Record, Run
from streamjobs.engine.results import (
    DISCARDED,
    INTERRUPTED,
    RELEASED,
    Crashed,
    Failed,
    Rejected,
    Succeeded,
)
from streamjobs.errors import SchemaUnavailable
from streamjobs.executors import slot
from streamjobs.executors.processes import ProcessExecutor
from streamjobs.executors.slot import ChildRecipe
from streamjobs.headers import Delivery, Origin, Reason

JOB_ID = "0a7f2f9e-9c0e-4d2b-8f8c-8d7d4f9f3a11"
MODULE = "jobs_of_children"
SOURCE = """
import atexit, ctypes, os, resource, signal, subprocess, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from streamjobs import App, Context, DeadLetter, Discard, RetryAfter, current_context

app = App("shop")

class Outgoing:  # stands in for the client, which would ask a broker
    def outgoing(self, call):
        value = b"\\xff" + call.args["text"].encode()
        return SimpleNamespace(topic="shop.default", key=None, value=value)

app._client = Outgoing()

def exhaust():
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, limit[1]))
    try:
        return [bytearray(2**28) for _ in range(100)]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)

def decide(error):
    raise error

class Unprintable(Exception):
    def __init__(self):
        self.lock = threading.Lock()
    def __str__(self):
        raise ValueError("no text")

def noise():
    print("printed by the job", os.getpid())
    print("complained by the job", file=sys.stderr)
    os.write(1, b"written by the job\\n")

def forked():
    pid = os.fork()  # the copy returns from the handler as well
    if pid:
        os.waitpid(pid, 0)

def leave_somebody():
    held = subprocess.Popen(["sleep", "60"], close_fds=False)
    Path("left").write_text(str(held.pid))
    if os.fork() == 0:  # holds the pipe to the worker
        time.sleep(60)
    os._exit(3)

DO = {
    "nothing": lambda: None,
    "fail": lambda: decide(ValueError("no such thing")),
    "later": lambda: decide(RetryAfter("5m")),
    "discard": lambda: decide(Discard("done")),
    "dead": lambda: decide(DeadLetter("hopeless")),
    "children": lambda: [current_context().enqueue(do, text=text) for text in ("one", "zwei ß")],
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leave": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: sys.exit(3),
    "at exit": lambda: atexit.register(Path("left").touch),
    "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "exhaust": exhaust,
    "unprintable": lambda: decide(Unprintable()),
    "surrogates": lambda: decide(ValueError("\\ud800\\x00")),
    "noise": noise,
    "forked": forked,
    "leave_somebody": leave_somebody,
    "close": lambda: os.closerange(3, 256),
    "spoil": lambda: [os.write(fd, b"spoilt" * 9) for fd in pipes()],
    "stuck": lambda: (Path("begun").write_text(str(os.getpid())), ctypes.PyDLL(None).sleep(60)),
    "tick": lambda: tick(),
}

def pipes():
    return [int(fd) for fd in sys.argv[-2:-1]]

def tick():
    file = os.open("ticks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    Path("begun").write_text(str(os.getpid()))
    while True:
        os.write(file, b".")
        time.sleep(0.01)

@app.job
def do(text: str) -> None:
    DO[text]()

@app.job
def tell(ctx: Context, data: bytes) -> None:
    raise ValueError(f"{ctx.job_id} {ctx.key} {ctx.attempt} {len(data)} {os.getpid()}")
"""
# The first takes the job and ends before it says that it has begun.
DIES_ONCE = """
import os, sys
from pathlib import Path
from streamjobs.cli.child import main
from streamjobs.executors.frames import pack

if Path("died").exists():
    main()
else:
    Path("died").touch()
    os.write(int(sys.argv[-2]), pack("ready"))
    os.read(int(sys.argv[-3]), 1)
    os._exit(9)
"""
# Tells that it starts, and is ready when it is let.
STARTS_SLOWLY = """
import os, time
from pathlib import Path
from streamjobs.cli.child import main

with Path("starts").open("a") as file:
    file.write(".")
while not Path("may start").exists():
    time.sleep(0.01)
main()
"""
MakePool = Callable[..., ProcessExecutor]


@dataclass
class Stand:
    """An app in a module of its own, and pools of children that have it."""

    folder: Path
    app: Any
    store: MemorySchemaStore

    def value(self, name: str, **args: Any) -> bytes:
        """The bytes of a job."""
        call = self.app.jobs[name].call(**args)
        prefix = self.store.prefix("shop.default", call.encoder.name, call.encoder.schema)
        value: bytes = call.encoder.encode(prefix, call.args, id=JOB_ID, enqueued_at=10**15)
        return value

    def record(
        self, value: bytes | str, *, log: Log | None = None, delivery: Delivery | None = None
    ) -> Record:
        """A received job; text is what ``do`` is to do."""
        data = self.value("do", text=value) if isinstance(value, str) else value
        message = Message("t", 7, data)
        return Record(log or Log("t", 0, None, 0), 7, b"k", message, delivery)

    def recipe(self, *command: str) -> ChildRecipe:
        def make_child(topic: str, key: bytes | None, value: bytes) -> Any:
            return topic, key, value

        command = command or child_command(f"{MODULE}:app", "warning")

        def schema(prefix: bytes) -> str:
            return self.store.schema(prefix)

        return ChildRecipe(command, str(self.folder), schema, make_child)

    def pid(self, pool: ProcessExecutor) -> int:
        """The process id of the child, told by a job."""
        record = run_one(pool, self.record(self.value("tell", data=b"")))
        assert isinstance(record.result, Failed), record.result
        return int(record.result.failure.message.split()[-1])


class Message(FakeMessage):
    def __init__(self, topic: str, offset: int, value: bytes) -> None:
        super().__init__(topic, offset, headers_=(("traceparent", b"\xff"), ("empty", None)))
        self.data = value

    def value(self) -> bytes:
        return self.data


def collect(pool: ProcessExecutor, count: int, within: float = 30.0) -> Run:
    records: Run = []
    deadline = monotonic() + within
    while len(records) < count:
        assert monotonic() < deadline, f"{len(records)} of {count} records came back"
        pool.wait(0.05, count - len(records))
        records += pool.collect()
    assert len(records) == count
    return records


def run_one(pool: ProcessExecutor, record: Record) -> Record:
    pool.submit([[record]])
    (back,) = collect(pool, 1)
    assert back is record
    return record


def eventually(true: Callable[[], Any], what: str, within: float = 10.0) -> Any:
    deadline = monotonic() + within
    pause = threading.Event()
    while not (answer := true()):
        assert monotonic() < deadline, f"not within {within:g} s: {what}"
        pause.wait(0.02)
    return answer


def begun(stand: Stand) -> str:
    """Wait until a job says that it runs, and return its process id."""
    file = stand.folder / "begun"
    return str(eventually(lambda: file.exists() and file.read_text(encoding="utf-8"), "begun", 30))


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has asked for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("children")
    (folder / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield Stand(folder, load_app(f"{MODULE}:app"), MemorySchemaStore())
    sys.path.remove(str(folder))
    sys.modules.pop(MODULE)


@pytest.fixture(scope="module")
def pool(stand: Stand) -> Iterator[ProcessExecutor]:
    """One child for all that need none of their own: what one job does must not harm the next."""
    executor = ProcessExecutor(stand.recipe(), "test")
    yield executor
    executor.stop()
    assert executor.join(30.0)


@pytest.fixture
def make_pool(stand: Stand) -> Iterator[MakePool]:
    made: list[ProcessExecutor] = []

    def make(*command: str, **more: Any) -> ProcessExecutor:
        made.append(ProcessExecutor(stand.recipe(*command), "test", **more))
        return made[-1]

    for name in ("begun", "ticks", "left"):
        (stand.folder / name).unlink(missing_ok=True)
    yield make
    for executor in made:
        executor.stop()
        assert executor.join(30.0)


class TestResults:
    def test_success(self, stand: Stand, pool: ProcessExecutor) -> None:
        record = run_one(pool, stand.record("nothing"))

        assert (record.result, record.job) == (None, "do")

    def test_a_failure_has_the_handlers_traceback(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        record = run_one(pool, stand.record("fail"))

        assert isinstance(record.result, Failed)
        failure = record.result.failure
        assert (failure.type, failure.message) == ("ValueError", "no such thing")
        assert f"{MODULE}.py" in failure.trace
        assert "streamjobs/worker" not in failure.trace
        assert (record.result.reason, record.result.final) == (Reason.FAILED, Reason.EXHAUSTED)

    def test_what_handlers_decide(self, stand: Stand, pool: ProcessExecutor) -> None:
        later = run_one(pool, stand.record("later")).result
        dead = run_one(pool, stand.record("dead")).result

        assert isinstance(later, Failed)
        assert later.retry_after == 300.0
        assert run_one(pool, stand.record("discard")).result == DISCARDED
        assert isinstance(dead, Rejected)
        assert (dead.reason, dead.failure.message) == (Reason.REJECTED, "hopeless")

    def test_child_jobs_come_back_as_they_are_to_be_produced(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        record = run_one(pool, stand.record("children"))

        values = (b"\xffone", b"\xff" + "zwei ß".encode())
        assert record.result == Succeeded(tuple(("shop.default", None, v) for v in values))

    def test_the_job_knows_its_delivery_and_has_all_its_bytes(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        delivery = Delivery(4, 2, Origin("T", 0, 3), waiting=True, crashes=1)
        value = stand.value("tell", data=b"\x00" * 1_000_000)

        record = run_one(pool, stand.record(value, delivery=delivery))

        assert isinstance(record.result, Failed)
        assert record.result.failure.message.startswith(f"{JOB_ID} k 5 1000000 ")
        assert record.delivery is delivery

    def test_bytes_that_are_no_job_are_invalid(self, stand: Stand, pool: ProcessExecutor) -> None:
        foreign, unknown = b"\x17 not ours", b"\xc3\x01" + bytes(20)

        results = [run_one(pool, stand.record(value)).result for value in (foreign, unknown)]

        assert all(isinstance(r, Rejected) and r.reason is Reason.INVALID for r in results)

    @pytest.mark.parametrize(
        ("what", "kind"),
        [("exit", "SystemExit"), ("exhaust", "MemoryError"), ("surrogates", "ValueError")],
    )
    def test_whatever_a_handler_raises_is_a_failed_attempt(
        self, stand: Stand, pool: ProcessExecutor, what: str, kind: str
    ) -> None:
        result = run_one(pool, stand.record(what)).result

        assert isinstance(result, Failed), result
        assert result.failure.type == kind

    def test_an_exception_that_cannot_be_pickled_nor_printed(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        result = run_one(pool, stand.record("unprintable")).result

        assert isinstance(result, Failed)
        assert result.failure.type == f"{MODULE}.Unprintable"
        assert "__str__ raised ValueError" in result.failure.message

    def test_what_a_job_prints_goes_where_the_workers_output_goes(
        self,
        stand: Stand,
        make_pool: MakePool,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        own = make_pool()

        assert run_one(own, stand.record("noise")).result is None

        out, err = capfd.readouterr()
        assert "printed by the job" in out
        assert "written by the job" in out
        assert "complained by the job" in err

    def test_a_copy_that_a_job_forks_has_no_say(self, stand: Stand, pool: ProcessExecutor) -> None:
        assert run_one(pool, stand.record("forked")).result is None
        assert isinstance(run_one(pool, stand.record("fail")).result, Failed)

    def test_signals_to_the_whole_group_do_not_end_a_job(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        assert run_one(pool, stand.record("interrupt")).result is None

    def test_a_run_goes_on_until_a_job_does_not_succeed(
        self, stand: Stand, pool: ProcessExecutor
    ) -> None:
        run = [stand.record(what) for what in ("nothing", "discard", "fail", "nothing")]

        pool.submit([list(run)])
        records = collect(pool, 4)

        assert records == run
        assert [type(r.result) for r in run[:3]] == [type(None), type(DISCARDED), Failed]
        assert run[3].result is RELEASED


class TestCrashes:
    @pytest.mark.parametrize(
        ("what", "status", "said"),
        [
            ("kill", -signal.SIGKILL, "SIGKILL"),
            ("leave", 0, "its own exit, code 0"),
            ("segfault", -signal.SIGSEGV, "SIGSEGV"),
        ],
    )
    def test_a_job_that_ends_its_process_has_crashed_and_the_next_one_runs(
        self, stand: Stand, pool: ProcessExecutor, what: str, status: int, said: str
    ) -> None:
        guilty, follower, other = (stand.record(text) for text in (what, "nothing", "nothing"))

        pool.submit([[guilty, follower], [other]])
        collect(pool, 3)

        assert isinstance(guilty.result, Crashed)
        assert guilty.result.status == status
        assert said in guilty.result.failure.message
        assert guilty.job == "do"
        assert follower.result is RELEASED
        assert other.result is None

    def test_what_it_leaves_behind_neither_hides_its_end_nor_lives_on(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        record = run_one(make_pool(), stand.record("leave_somebody"))

        assert isinstance(record.result, Crashed)
        assert record.result.status == 3
        left = int((stand.folder / "left").read_text())
        eventually(lambda: not runs(left), "what the job had started has ended")

    @pytest.mark.parametrize("what", ["close", "spoil"])
    def test_a_job_that_cuts_the_line_to_its_worker_has_crashed(
        self, stand: Stand, pool: ProcessExecutor, what: str
    ) -> None:
        assert isinstance(run_one(pool, stand.record(what)).result, Crashed)
        assert run_one(pool, stand.record("nothing")).result is None

    def test_a_child_that_ends_between_jobs_convicts_nobody(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        own = make_pool()
        first = stand.pid(own)

        os.kill(first, signal.SIGKILL)

        assert run_one(own, stand.record("nothing")).result is None
        assert stand.pid(own) != first

    def test_a_child_that_ends_before_it_begins_convicts_nobody_either(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        (stand.folder / "died").unlink(missing_ok=True)
        own = make_pool(sys.executable, "-c", DIES_ONCE, f"{MODULE}:app", "warning")

        record = run_one(own, stand.record("nothing"))

        assert (stand.folder / "died").exists()
        assert record.result is None


class TestPreparing:
    def test_a_child_is_started_before_there_is_a_job_for_it_and_has_the_next_one(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        # given a pool of two of which nothing has run, and no child
        own = make_pool(processes=2)
        assert not own.prepare(wanted=False)

        # when one is to be ready, then it is before anything is submitted
        eventually(lambda: own.prepare(wanted=True), "one is ready", within=30)
        (child,) = [slot._child for slot in own._slots if slot._child is not None]

        # and it has the job, not one that would have to be started first
        assert stand.pid(own) == child.pid
        eventually(lambda: own.prepare(wanted=True), "it is ready again")
        os.kill(child.pid, signal.SIGKILL)
        assert run_one(own, stand.record("nothing")).result is None

    def test_children_are_started_one_after_the_other(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        # given jobs for two children, of which the first takes its time to start
        starts, go, begun_by = (stand.folder / name for name in ("starts", "may start", "begun"))
        begun_by.unlink(missing_ok=True)
        own = make_pool(
            sys.executable, "-c", STARTS_SLOWLY, f"{MODULE}:app", "warning", processes=2
        )
        own.submit([[stand.record("stuck")], [stand.record("stuck")]])
        eventually(starts.exists, "one starts", within=30)

        # then the second waits for it
        own.wait(1.0)
        assert starts.read_text() == "."

        # and starts as soon as the first has its job
        go.touch()
        eventually(lambda: starts.read_text() == "..", "the other one starts", within=30)
        assert begun(stand)

    def test_what_is_wanted_no_more_is_not_started(self, stand: Stand, make_pool: MakePool) -> None:
        own = make_pool(sys.executable, "-c", "import time; time.sleep(60)", idle=0.2)
        assert not own.prepare(wanted=True)
        (slot,) = own._slots
        eventually(lambda: slot._child is not None, "one is started")

        assert not own.prepare(wanted=False)

        eventually(lambda: slot._child is None, "it is ended", within=10)
        assert not slot.ready


class TestLife:
    def test_a_child_is_kept_and_ended_when_it_is_idle(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        own = make_pool(idle=6.0)
        run_one(own, stand.record("at exit"))

        first, second = stand.pid(own), stand.pid(own)

        assert first == second
        eventually(lambda: not runs(first), "the idle child has ended", within=30)
        assert (stand.folder / "left").exists(), "its interpreter did not end in an orderly way"
        assert stand.pid(own) != first

    def test_it_has_no_file_of_its_workers(self, stand: Stand, make_pool: MakePool) -> None:
        with socket.socket() as ours:
            ours.set_inheritable(True)
            files = Path(f"/proc/{stand.pid(make_pool())}/fd")
            theirs = {int(file.name): str(file.readlink()) for file in files.iterdir()}

        assert sum(file.startswith("pipe:") for n, file in theirs.items() if n > 2) == 2
        assert [file for file in theirs.values() if file.startswith("socket:")] == []

    def test_nothing_is_started_before_there_is_work(self, make_pool: MakePool) -> None:
        own = make_pool()
        before = threading.active_count()

        own.nudge()
        own.wait(0.0)

        assert own.collect() == []
        assert threading.active_count() == before

    def test_what_must_not_be_begun_is_given_back(self, stand: Stand, make_pool: MakePool) -> None:
        own, dead = make_pool(), Log("t", 0, None, 0)
        dead.live = False
        late = stand.record("kill")

        own.submit([[stand.record("kill", log=dead)]])
        records = collect(own, 1)
        own.lease = 0.0
        own.submit([[late]])

        assert [r.result for r in (*records, *collect(own, 1))] == [RELEASED] * 2

    def test_stopping_ends_a_running_job_and_gives_it_back(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        own = make_pool()
        running, waiting = stand.record("stuck"), stand.record("nothing")
        own.submit([[running], [waiting]])
        pid = int(begun(stand))

        own.halt()
        assert [r.result for r in collect(own, 1)] == [RELEASED]
        own.stop()
        collect(own, 1)

        assert running.result == INTERRUPTED
        assert own.join(30.0)
        assert not runs(pid)

    def test_a_job_whose_partition_was_taken_away_is_ended(
        self, stand: Stand, make_pool: MakePool
    ) -> None:
        own = make_pool()
        log = Log("t", 0, None, 0)
        own.submit([[stand.record("stuck", log=log)]])
        begun(stand)

        log.live = False

        assert [r.result for r in collect(own, 1)] == [INTERRUPTED]
        assert run_one(own, stand.record("nothing")).result is None

    def test_while_its_schema_cannot_be_had_a_job_waits_until_its_partition_goes(
        self, stand: Stand, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = threading.Event()

        def unavailable(prefix: bytes) -> str:
            asked.set()
            raise SchemaUnavailable("no answer")

        record = stand.record("nothing")
        monkeypatch.setattr(stand.store, "schema", unavailable)
        own = make_pool()
        own.submit([[record]])
        assert asked.wait(30)

        record.log.begins = False  # its partition is given back

        collect(own, 1)
        assert record.result == INTERRUPTED
        monkeypatch.undo()
        assert run_one(own, stand.record("nothing")).result is None

    def test_a_job_waits_for_a_child_that_cannot_be_started(
        self,
        stand: Stand,
        make_pool: MakePool,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(slot, "START_RETRY", 0.01)
        record = stand.record("nothing")
        own = make_pool(*child_command(f"{MODULE}:gone", "critical"))

        own.submit([[record]])
        eventually(lambda: caplog.text.count("next try") >= 2, "two tries", 30)
        own.halt()

        assert "has no 'gone'" in caplog.text
        assert [r.result for r in collect(own, 1)] == [RELEASED]


# Runs one job in a child until it is killed; the second argument says what holds the child.
PARENT = """
import os, sys, time
from contract.test_child_processes import MODULE, Stand
from pathlib import Path
from streamjobs.cli.app_loader import load_app
from streamjobs.codec import MemorySchemaStore
from streamjobs.executors.processes import ProcessExecutor

folder, what, holder, *command = sys.argv[1:]
os.chdir(folder)
stand = Stand(Path(folder), load_app(MODULE + ":app"), MemorySchemaStore())
pool = ProcessExecutor(stand.recipe(*command), "test")
pool.submit([[stand.record(what)]])
while not (os.path.exists("begun") and Path("begun").read_text()):
    time.sleep(0.01)
if holder and os.fork() == 0:  # keeps the worker's end of the pipe open
    time.sleep(20)
    os._exit(0)
print("begun", flush=True)
time.sleep(60)
"""
WITHOUT_PRCTL = (
    "import streamjobs.worker.child as child; child.sys = type('sys', (), {'platform': 'other'});"
    "from streamjobs.cli.child import main; main()"
)


@pytest.mark.parametrize(
    ("what", "holder", "portable"),
    [("stuck", "", False), ("tick", "", True), ("tick", "holder", True)],
    ids=["the system ends it", "its pipe ends", "its parent is another"],
)
@pytest.mark.usefixtures("make_pool")
def test_a_child_ends_with_its_worker(
    stand: Stand, what: str, holder: str, *, portable: bool
) -> None:
    # given a worker that runs a job in a child
    command = [sys.executable, "-c", WITHOUT_PRCTL, f"{MODULE}:app", "warning"] if portable else []
    tests = Path(__file__).parents[1]
    worker = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(stand.folder), what, holder, *command],
        env={**os.environ, "PYTHONPATH": str(tests)},
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"
    child = int((stand.folder / "begun").read_text(encoding="utf-8"))
    assert runs(child)

    # when the worker is killed
    worker.kill()
    worker.wait(10)

    # then the child ends, and the job does nothing more
    eventually(lambda: not runs(child), "the child has ended with its worker", within=15.0)
    ticks = stand.folder / "ticks"
    size = ticks.stat().st_size if ticks.exists() else 0
    if holder:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.stdout.close()
    assert not runs(child)
    assert (ticks.stat().st_size if ticks.exists() else 0) == size
