"""A job that enqueues itself: nothing stops it, so its rate has to be visible."""

from __future__ import annotations

from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def again(ctx: Context, generation: int) -> None:
    note("generation", generation)
    ctx.enqueue(again, generation=generation + 1)
"""


def test_its_rate_is_visible(make_scene: MakeScene) -> None:
    # Given a job whose success enqueues it again
    scene = make_scene(SOURCE)
    scene.job("again").enqueue(generation=0)
    worker = scene.worker("--http", "0")
    eventually(lambda: len(scene.journal) >= 20, "20 generations")

    # When its metrics are asked for, then both its attempts and its children show it
    metrics = worker.metrics()
    labels = 'job_name="again",outcome="succeeded",queue="mail"'
    assert metrics[f"streamjobs_attempts_finished_total{{{labels}}}"] >= 15
    assert metrics['streamjobs_child_jobs_enqueued_total{queue="mail"}'] >= 15
    assert worker.stop() == 0, worker.errors

    # And generations follow each other, none twice and none left out
    generations = [int(words[1]) for words in scene.journal]
    assert generations == list(range(len(generations)))
