"""Nearly everything fails: the queue pauses itself, and goes on when the fault is mended."""

from __future__ import annotations

import json

from integration.scene import MakeScene, WorkerProcess, eventually

from streamjobs.clock import monotonic

EVERY = 0.4
SOURCE = f"""
from streamjobs import Breaker

app.queue(
    "mail",
    partitions=2,
    retry=Retry(delays=("200ms", "1s", "5s")),
    breaker=Breaker(outcomes=30, probe_every={EVERY}),
)
app.queue(
    "once",
    partitions=1,
    retry=Retry(delays=("100ms",)),
    breaker=Breaker(outcomes=10, probe_every="1m"),
)
MENDED = os.path.join(os.path.dirname(os.environ["SCENE_JOURNAL"]), "mended")

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id)
    if not os.path.exists(MENDED):
        time.sleep(0.02)
        raise ConnectionError("the mail server is down")
    note("end", ctx.job_id, customer, number)

@app.job(queue="once")
def never(ctx: Context) -> None:
    raise ValueError("never")
"""
JOBS, KEYS, THREADS = 400, 200, 2


def is_open(worker: WorkerProcess, queue: str = "mail") -> bool:
    return worker.metrics().get(f'streamjobs_breaker_open{{queue="{queue}"}}') == 1.0


def test_a_queue_pauses_itself_and_goes_on(make_scene: MakeScene) -> None:
    # Given a backlog of which every job fails
    scene = make_scene(SOURCE)
    calls = (scene.job("send").call(customer=f"c{n % KEYS}", number=n) for n in range(JOBS))
    assert scene.app.enqueue_many(calls).sent == JOBS
    worker = scene.worker("--http", "0", "--concurrency", str(THREADS))

    # When the worker has seen enough of it, then it says so and only tries a job now and then
    eventually(lambda: is_open(worker), "paused")
    began, before = monotonic(), len(scene.journal)
    assert before < JOBS
    eventually(lambda: len(scene.journal) >= before + 4, "some jobs are tried")
    tried, seconds = len(scene.journal) - before, monotonic() - began
    assert tried <= THREADS + 1 + seconds / EVERY
    assert json.loads(worker.http("/readyz")) == {"ok": True, "reason": "running"}
    said = next(line for line in worker.errors.splitlines() if "breaker open" in line)
    assert "queue mail: breaker open: " in said
    assert "attempts failed, the last: send, ConnectionError: 'the mail server is down'" in said
    assert f"one job is tried every {EVERY:g} s" in said

    # And when the fault is mended, then all is done, in order
    scene.signal("mended")
    eventually(lambda: len(scene.noted("end")) == JOBS, "all done", within=60)
    eventually(lambda: not is_open(worker), "no longer paused")
    assert "queue mail: breaker closed after" in worker.errors
    ended = [(words[2], int(words[3])) for words in scene.journal if words[0] == "end"]
    for key in range(KEYS):
        assert [n for name, n in ended if name == f"c{key}"] == list(range(key, JOBS, KEYS))
    assert worker.stop() == 0, worker.errors
    assert worker.report()["dead"] == 0


def test_a_drain_goes_to_the_end(make_scene: MakeScene) -> None:
    # Given a backlog of which every job fails, and a queue that would try one a minute
    scene = make_scene(SOURCE)
    scene.app.enqueue_many(scene.job("never").call() for _ in range(40))

    # When it is drained, then it ends, with every job dead
    worker = scene.worker("--drain", queue="once")
    assert worker.wait() == 0, worker.errors
    assert worker.report()["dead"] == 40
    assert "breaker" not in worker.errors
