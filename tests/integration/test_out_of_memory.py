"""A job that takes memory without end: the kernel ends its worker, and it is dead in the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.cgroup import MemoryGroup, NoGroup, memory_group
from integration.scene import Scene, scene_of

from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.testing import GroupProtocol, need_kafka

SOURCE = """
import resource, sys

IN_CHILD = sys.argv[0].endswith("child.py")

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

if "GROUP" in os.environ and not IN_CHILD:
    write(os.environ["GROUP"], str(os.getpid()))  # what it starts is in it as well
# Whom the kernel takes first of the two, the worker or its child.
if "TAKEN" in os.environ:
    first = IN_CHILD == (os.environ["TAKEN"] == "child")
    write("/proc/self/oom_score_adj", "1000" if first else "0")

def limit():  # what is there by now, and some room
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + int(os.environ["ROOM"])
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

app.queue("mail", partitions=2, retry=Retry(delays=("100ms", "200ms", "300ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", customer, number, IN_CHILD)
    if (customer, number) == ("hog", 1):
        if "ROOM" in os.environ:
            limit()
        taken = []
        while True:
            taken.append(bytearray(1 << 23))
    note("end", customer, number)
"""
# Seven workers die in a row, and under KIP-848 each is missed only when its session has ended.
QUICK = {
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "3000",
}
MEGABYTES = 250
KEYS, EACH = 20, 4
BAD = ("hog", 1)
# One death in a thread, three in a child among others, three alone.
MOST = 7


@pytest.fixture(scope="module")
def quick_broker() -> Iterator[Broker]:
    need_kafka(own=True)
    with start_broker("kafka", properties=QUICK) as broker:
        yield broker


@pytest.fixture
def scene(
    quick_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Iterator[Scene]:
    settings = {"bootstrap": quick_broker.bootstrap, "group_protocol": group_protocol}
    with scene_of(SOURCE, folder=tmp_path, name=app_name, **settings) as made:
        yield made


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    try:
        with memory_group(MEGABYTES) as made:
            yield made
    except NoGroup as error:
        pytest.skip(f"no control group can be made, so the kernel ends nobody: {error}")


def run_until_drained(scene: Scene, **environment: str) -> list[int]:
    """Start workers, each after the one before has ended by itself; how each did."""
    ends: list[int] = []
    while not ends or (ends[-1] != 0 and len(ends) <= MOST):
        worker = scene.worker(
            *("--drain", "--concurrency", "2"),
            STREAMJOBS_GROUP_INSTANCE_ID="owner",
            **environment,
        )
        ends.append(worker.wait())
    assert ends[-1] == 0, worker.errors
    return ends


def enqueue(scene: Scene) -> None:
    """Some jobs for each of many customers, by turns; the second of one takes memory."""
    send = scene.job("send")
    customers = [f"c{n}" for n in range(KEYS)]
    customers.insert(KEYS // 2, "hog")
    calls = [send.call(customer=c, number=n) for n in range(EACH) for c in customers]
    assert scene.app.enqueue_many(calls).sent == len(calls)


def judge(scene: Scene) -> None:
    """Demand that all others have run, each key in its order, and that nothing is left to do.

    A job is over when it has ended for the first time, the bad one when it begins no more.
    """
    customers = ["hog", *(f"c{n}" for n in range(KEYS))]
    began: dict[tuple[str, int], int] = {}
    over: dict[tuple[str, int], int] = {}
    for at, (kind, customer, number, *_) in enumerate(scene.journal):
        job = (customer, int(number))
        if kind == "start":
            began.setdefault(job, at)
        if kind == "end":
            over.setdefault(job, at)
        elif job == BAD:
            over[job] = at
    assert sorted(over) == sorted((c, n) for c in customers for n in range(EACH))
    assert [
        (customer, number)
        for customer in customers
        for number in range(1, EACH)
        if began[customer, number] < over[customer, number - 1]
    ] == []
    assert scene.lag() == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("taken", ["child", "worker"])
def test_the_job_is_dead_and_all_others_run(scene: Scene, group: MemoryGroup, taken: str) -> None:
    # Given a job among others that takes memory without end
    enqueue(scene)

    # When workers that have so much are started, each after the kernel has ended the one before
    ends = run_until_drained(scene, GROUP=group.entrance, TAKEN=taken)

    # Then each of them died of that, and where the kernel spares the worker, one alone did
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    (letter,) = scene.dead()
    starts = [words[3] == "True" for words in scene.journal if words[:3] == ["start", "hog", "1"]]
    assert letter["reason"] == "crashed"
    if taken == "child":
        assert len(ends) == 2
        assert starts == [False, True, True, True]
    else:
        assert len(ends) <= MOST + 1
        assert "the whole worker ended 3 times" in letter["error_message"]
    # the kernel may have ended a child that hardly ran beside its worker
    assert group.killed >= len(starts)

    # And all others have run, each key in its order
    judge(scene)


def test_where_memory_is_refused_it_is_dead_and_all_others_run(scene: Scene) -> None:
    # Given the same where the kernel gives no more and ends nobody (`ulimit -v`)
    enqueue(scene)

    # When workers are started that may take so much
    ends = run_until_drained(scene, ROOM=str(MEGABYTES << 20))

    # Then to the job that is a failure like any other, unless another thread is refused before it,
    # the client's perhaps, which aborts the process
    assert len(ends) <= MOST + 1
    assert set(ends[:-1]) <= {-signal.SIGABRT, -signal.SIGSEGV}
    (letter,) = scene.dead()
    assert letter["reason"] in ("exhausted", "crashed")
    assert "MemoryError" in letter["error_type"] or ends[:-1]
    told = f"{letter['reason']}, {letter['error_type']}"
    print(f"dead of {told}; workers ended by it: {ends[:-1]}")  # noqa: T201
    judge(scene)
