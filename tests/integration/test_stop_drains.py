"""SIGTERM: nothing new is begun, running jobs end, what has ended is committed."""

from __future__ import annotations

import signal

import pytest
from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=4, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    note("start", ctx.job_id)
    if number < 4:
        wait_for("go")
    note("end", ctx.job_id)
"""


def test_running_jobs_end_and_nothing_runs_again(make_scene: MakeScene) -> None:
    # Given four jobs that run, and more behind them
    scene = make_scene(SOURCE)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(number=n) for n in range(4))
    worker = scene.worker("--concurrency", "4")
    eventually(lambda: len(scene.noted("start")) == 4, "four jobs run")
    scene.app.enqueue_many(send.call(number=n) for n in range(4, 40))

    # When it is told to stop, and they are let go
    worker.signal(signal.SIGTERM)
    eventually(lambda: "stopping" in worker.errors, "the signal is seen")
    scene.signal("go")

    # Then it ends by itself with those four done, and the next worker begins with the others
    assert worker.wait() == 0, worker.errors
    assert worker.report()["succeeded"] == 4
    assert scene.worker("--drain").wait() == 0
    starts = scene.noted("start")
    assert len(starts) == 40
    assert set(starts.values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_abandons_what_is_not_committed(
    make_scene: MakeScene, number: signal.Signals
) -> None:
    # Given a job that does not end
    scene = make_scene(SOURCE)
    ref = scene.job("send").enqueue(number=0)
    worker = scene.worker()
    eventually(lambda: scene.noted("start"), "the job runs")

    # When the worker is told twice
    worker.signal(signal.SIGTERM)
    eventually(lambda: "stopping" in worker.errors, "the first signal is seen")
    worker.signal(number)

    # Then it ends at once with that signal's number, and the job runs again elsewhere
    assert worker.wait(within=10.0) == 128 + number
    scene.signal("go")
    assert scene.worker("--drain").wait() == 0
    assert scene.noted("start")[ref.id] == 2
    assert scene.noted("end")[ref.id] == 1
