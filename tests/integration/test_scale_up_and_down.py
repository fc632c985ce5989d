"""One worker, six, one again, all under load: no loss, order, no partition stands still long."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any, Self

from integration.order import judge
from integration.scene import MakeScene, Scene, WorkerProcess, eventually

from streamjobs.clock import monotonic
from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=12, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt, os.getpid(), time.monotonic())
    time.sleep(0.005)
    if number % 10 == 3 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
PARTITIONS, KEYS, MORE = 12, 240, 5
# Jobs a second, so that a partition has one to begin ten times a second; and how many each of the
# three stages takes at least.
RATE, STAGE = 150.0, 300
# Of the group: the broker's for KIP-848, the worker's own for classic groups.
SESSION = 6.0
SETTINGS = {"kafka_session_timeout_ms": f"{SESSION * 1000:.0f}"}


class Load:
    """Enqueues job after job until it is stopped; a context manager.

    Attributes:
        lines: the ids of each key's jobs, in their order.
        places: the partition of each job.
        began, over: when, by the clock that the journal goes by.
    """

    def __init__(self, send: Any) -> None:
        self._send, self._stop = send, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.places: dict[str, int] = {}
        self.began = self.over = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def more(self) -> Callable[[], bool]:
        """Whether a stage's jobs have been enqueued since this was called."""
        enough = len(self.places) + STAGE
        return lambda: len(self.places) > enough

    def _run(self) -> None:
        self.began = monotonic()
        for number in count():
            if self._stop.wait(max(0.0, self.began + number / RATE - monotonic())):
                break
            customer = f"c{number % KEYS}"
            ref = self._send.enqueue(customer=customer, number=number // KEYS)
            self.lines[customer].append(ref.id)
            self.places[ref.id] = ref.partition
        self.over = monotonic()


def works(scene: Scene, worker: WorkerProcess) -> bool:
    return str(worker.process.pid) in {w[3] for w in scene.journal if w[0] == "start"}


def seen_since(scene: Scene, load: Load, moment: float) -> int:
    """Of how many partitions jobs have begun since then."""
    starts = [w for w in scene.journal if w[0] == "start" and float(w[4]) > moment]
    return len({load.places.get(words[1]) for words in starts} - {None})


def longest_standstills(scene: Scene, load: Load) -> list[float]:
    """Of each partition the longest time in which none of its jobs began, in seconds."""
    starts: dict[int, list[float]] = defaultdict(lambda: [load.began])
    for words in scene.journal:
        if words[0] == "start" and words[2] == "1":
            starts[load.places[words[1]]].append(float(words[4]))
    return [
        max(after - before for before, after in pairwise(sorted([*starts[p], load.over])))
        for p in range(PARTITIONS)
    ]


def test_nothing_is_lost_and_no_partition_stands_still_long(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker at work
    scene = make_scene(SOURCE, **(SETTINGS if group_protocol == "classic" else {}))
    first = scene.worker("--concurrency", "2")
    eventually(lambda: ": assigned" in first.errors, "the first is there")
    with Load(scene.job("send")) as load:
        eventually(lambda: works(scene, first), "the first works")
        eventually(load.more(), "it goes on for a while")

        # When five more join it, and leave again when all of them work
        more = [scene.worker("--concurrency", "2") for _ in range(MORE)]
        eventually(lambda: all(works(scene, w) for w in more), "all six work", within=60)
        eventually(load.more(), "they go on for a while")
        for worker in more:
            worker.process.terminate()
        assert [worker.wait() for worker in more] == [0] * MORE
        alone = monotonic()
        eventually(lambda: seen_since(scene, load, alone) == PARTITIONS, "the first has all of it")
        eventually(load.more(), "it goes on for a while")

    # Then all has ended, once, and each key kept its order
    jobs = set(load.places)
    eventually(lambda: scene.noted("end").keys() == jobs, "all have ended")
    assert first.stop() == 0, first.errors
    judge(scene, load.lines)
    assert scene.lag() == 0

    # And no partition stood still for longer than a member is waited for that has died, and a bit
    standstills = longest_standstills(scene, load)
    told = " ".join(f"{seconds:.1f}" for seconds in standstills)
    print(f"{len(jobs)} jobs, longest standstill of each partition in s: {told}")  # noqa: T201
    assert max(standstills) < SESSION + 5
