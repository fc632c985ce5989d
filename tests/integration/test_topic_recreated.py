"""A main topic is deleted and made again, at once, under a worker that reads it."""

from __future__ import annotations

from integration.scene import MakeScene, eventually, refusal

SOURCE = """
from streamjobs.worker import watch
if IN_WORKER:
    watch.LOOK_EVERY = 0.5

app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id)
    note("end", ctx.job_id)
"""


def test_jobs_of_the_new_topic_run_once_each(make_scene: MakeScene) -> None:
    # Given a worker that has run three jobs, and committed them
    scene = make_scene(SOURCE)
    send = scene.job("send")
    worker = scene.worker("--http", "0")
    old = [send.enqueue("old") for _ in range(3)]
    eventually(lambda: scene.lag() == 0 and scene.noted("end"), "they have run")
    assert scene.committed(0) == 3
    eventually(lambda: not refusal(worker), "it is ready")

    # When its topic is deleted and made again at once, and gets jobs at the same offsets
    scene.delete("mail")
    scene.create_topics()
    new = [send.enqueue("new") for _ in range(3)]
    assert [job.offset for job in new] == [0, 1, 2]

    # Then each of them runs once, and the log has it that the topic is another one
    eventually(lambda: scene.noted("end").keys() >= {job.id for job in new}, "the new jobs run")
    eventually(lambda: scene.lag() == 0, "they are committed")
    assert scene.committed(0) == 3
    assert scene.noted("start") == {job.id: 1 for job in [*old, *new]}
    assert f"topic {scene.name}.mail was deleted and made again" in worker.errors
    eventually(lambda: not refusal(worker), "it is ready again")

    # And it goes on
    last = send.enqueue("new")
    eventually(lambda: scene.noted("end")[last.id] == 1, "it goes on")
    assert worker.stop() == 0, worker.errors
    assert scene.lag() == 0
    assert set(scene.noted("start").values()) == {1}
