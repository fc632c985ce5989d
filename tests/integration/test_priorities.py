"""Priorities: urgent jobs overtake a backlog of others, and each priority keeps its own order."""

from __future__ import annotations

import time
from functools import partial

from integration.scene import MakeScene, Scene, eventually

SOURCE = """
app.queue(
    "mail",
    partitions=2,
    retry=Retry(delays=("300ms",)),
    priorities=("high", "normal", "low"),
)

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int, fails: bool = False) -> None:
    note("start", ctx.job_id, time.time())
    if fails and ctx.attempt == 1:
        raise ValueError("not yet")
    note("ran", customer, number)

@app.job(queue="mail")
def slow(ctx: Context) -> None:
    note("slow", ctx.job_id)
    time.sleep(0.05)
"""
BACKLOG = 3_000


def started(scene: Scene, job_id: str) -> float | None:
    times = [float(words[2]) for words in scene.journal if words[:2] == ["start", job_id]]
    return times[0] if times else None


def test_an_urgent_job_starts_before_a_backlog_of_others(make_scene: MakeScene) -> None:
    # Given 3,000 jobs of low priority, more than a worker takes in hand, for 37 seconds of work
    scene = make_scene(SOURCE)
    low = scene.job("slow").options(priority="low")
    scene.app.enqueue_many(low.call() for _ in range(BACKLOG))
    worker = scene.worker("--concurrency", "4")
    eventually(lambda: len(scene.noted("slow")) >= 200, "the backlog is being worked at")

    # When urgent ones come, one after the other
    high = scene.job("send").options(priority="high")
    waits = []
    for number in range(5):
        ref = high.enqueue("ann", number)
        enqueued = time.time()
        begun = partial(started, scene, ref.id)
        at = eventually(begun, "the urgent job starts", within=20)
        waits.append(at - enqueued)

    # Then each starts within a second while the backlog still waits, and the backlog goes on
    assert max(waits) < 1.0, waits
    done = len(scene.noted("slow"))
    assert done < BACKLOG - 1_000
    eventually(lambda: len(scene.noted("slow")) > done, "the backlog goes on")
    assert worker.stop() == 0, worker.errors


def test_each_priority_keeps_the_order_of_a_key(make_scene: MakeScene) -> None:
    # Given jobs of two keys in three priorities, the first of each failing once
    scene = make_scene(SOURCE)
    send = scene.job("send")
    lanes = [(p, c) for p in ("high", "normal", "low") for c in ("ann", "bob")]
    for place in range(20):
        for lane, (priority, customer) in enumerate(lanes):
            send.options(priority=priority).enqueue(customer, lane * 100 + place, fails=place == 0)

    # When all have run
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then each (priority, key) ran in its order, retries included, and each once
    ran = [int(words[2]) for words in scene.journal if words[0] == "ran"]
    assert len(ran) == 20 * len(lanes)
    for lane in range(len(lanes)):
        mine = [number for number in ran if number // 100 == lane]
        assert mine == list(range(lane * 100, lane * 100 + 20))
    assert worker.report()["retried"] == len(lanes)
