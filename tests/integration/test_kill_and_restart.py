"""Guarantee 1, no loss: a worker is killed in the middle, and every job is accounted for."""

from __future__ import annotations

import signal

from integration.scene import MakeScene

SOURCE = """
from itertools import count

# A worker may be told to die at so many ends: a test would have half a second to kill it in.
ENDED, LAST = count(1), int(os.environ.get("SCENE_DIES_AT", "0"))

app.queue("mail", partitions=4, retry=Retry(delays=("100ms", "200ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, number: int, customer: str) -> None:
    note("start", ctx.job_id)
    if number % 50 == 0:
        raise ValueError("always")
    if number % 10 == 0 and ctx.attempt == 1:
        raise ValueError("the first time")
    time.sleep(0.0005)
    note("end", ctx.job_id)
    if next(ENDED) == LAST:
        os.kill(os.getpid(), signal.SIGKILL)
"""
JOBS = 4_000
IDS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(JOBS)]


def test_a_worker_killed_mid_run_loses_no_job(make_scene: MakeScene) -> None:
    # Given a backlog
    scene = make_scene(SOURCE)
    send = scene.job("send")
    calls = (send.options(id=i).call(number=n, customer=f"c{n % 300}") for n, i in enumerate(IDS))
    assert scene.app.enqueue_many(calls).sent == JOBS

    # When a worker is killed in the middle of it, and another is started
    first = scene.worker(SCENE_DIES_AT=str(JOBS // 4))
    assert first.wait() == -signal.SIGKILL
    assert JOBS // 4 <= len(scene.noted("end")) < JOBS * 0.9
    second = scene.worker("--drain")
    assert second.wait() == 0, second.errors

    # Then every job has ended, in success or in the DLQ, and none in both
    ended, dead = set(scene.noted("end")), {letter["id"] for letter in scene.dead()}
    assert ended | dead == set(IDS)
    assert dead == set(IDS[::50])
    assert not ended & dead
