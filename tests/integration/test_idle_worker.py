"""More workers than partitions: those without any are in order, and take over when needed."""

from __future__ import annotations

from urllib.error import HTTPError

from integration.scene import MakeScene, WorkerProcess, eventually

SOURCE = """
app.queue("mail", partitions=1)

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    note("end", ctx.job_id, os.getpid())
"""


def is_fine(worker: WorkerProcess, path: str) -> bool:
    try:
        return bool(worker.http(path))
    except HTTPError:
        return False


def test_a_worker_without_partitions_is_ready_and_takes_over(make_scene: MakeScene) -> None:
    # Given a worker that has the only partition
    scene = make_scene(SOURCE)
    send = scene.job("send")
    first = scene.worker("--http", "0")
    eventually(lambda: ": assigned" in first.errors, "the first has it")

    # When another one joins, for which nothing is left
    second = scene.worker("--http", "0")

    # Then it is as ready and alive as the first
    eventually(lambda: is_fine(second, "/readyz"), "it is ready", within=60)
    assert is_fine(second, "/healthz")
    send.enqueue(1)
    eventually(lambda: len(scene.noted("end")) == 1, "the job has run")

    # And when the first stops, it goes on
    assert first.stop() == 0, first.errors
    send.enqueue(2)
    eventually(lambda: len(scene.noted("end")) == 2, "the next one has run too", within=60)
    assert second.stop() == 0, second.errors
