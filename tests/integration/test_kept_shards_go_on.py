"""While a shard is given back, those that are kept go on."""

from __future__ import annotations

from collections import Counter

import pytest
from integration.scene import MakeScene, eventually, long_session

SOURCE = """
app.queue("mail", partitions=2)

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, slow: bool = False) -> None:
    note("slow" if slow else "start", ctx.job_id)
    if slow:
        wait_for("go")
    time.sleep(0.3)
    note("end", ctx.job_id)
"""
pytestmark = pytest.mark.only_protocol(
    "consumer", why="classic groups take all partitions back, whoever keeps them"
)
# So few that all of them are in hand when the shard is taken back, and that many are left by then.
SHORT, SLOW = 400, 12
LATE = 16
# Seconds for what is shown while the shard is given back.
BUDGET = "90"


def test_the_jobs_of_a_kept_shard_do_not_wait_for_those_of_one_that_goes(
    make_scene: MakeScene,
) -> None:
    # Given a worker with two shards, each with long jobs that run, and many short ones behind them
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(customer=f"slow-{n}", slow=True) for n in range(SLOW))
    first = scene.worker("--concurrency", str(SLOW + 2), "--drain-budget", BUDGET)
    eventually(lambda: len(scene.noted("slow")) == SLOW, "the long ones run")
    scene.app.enqueue_many(send.call(customer=f"c{n}") for n in range(SHORT))

    # When another worker joins, and a shard, with a long job, has to be given up to it
    second = scene.worker()
    eventually(lambda: "taken back" in first.errors, "a shard is given back")

    # Then short jobs begin, though the long ones run on
    before = len(scene.noted("start"))
    assert before < SHORT - 100
    eventually(lambda: len(scene.noted("start")) > before + 20, "the kept shard goes on")
    assert ": assigned" not in second.errors

    # And when they end, the shard is given up, and nothing runs twice
    scene.signal("go")
    eventually(lambda: len(scene.noted("end")) == SHORT + SLOW, "all have ended", within=60)
    assert set(scene.noted("end").values()) == {1}
    assert first.stop() == second.stop() == 0


def test_what_is_enqueued_meanwhile_for_a_kept_shard_begins(make_scene: MakeScene) -> None:
    # Given a worker that has long jobs of both of its shards in hand and nothing else
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(customer=f"slow-{n}", slow=True) for n in range(SLOW))
    first = scene.worker("--concurrency", str(SLOW + 2), "--drain-budget", BUDGET)
    eventually(lambda: len(scene.noted("slow")) == SLOW, "the long ones run")

    # When a shard has to be given up, which takes as long as its long jobs, and more is enqueued
    second = scene.worker()
    eventually(lambda: "taken back" in first.errors, "a shard is given back")
    places = [send.enqueue(customer=f"late-{n}") for n in range(LATE)]
    kept = {ref.id for ref in places}

    # Then what lies in the kept shard runs at once
    shards = Counter(ref.partition for ref in places)
    eventually(lambda: len(scene.noted("end")) in shards.values(), "those of one run")
    assert ": assigned" not in second.errors

    # And in the end everything has run once: what was read meanwhile is not run again
    scene.signal("go")
    eventually(lambda: len(scene.noted("end")) == SLOW + LATE, "all have ended")
    assert first.stop() == second.stop() == 0
    assert kept <= scene.noted("end").keys()
    assert set(scene.noted("end").values()) == {1}
