"""A job that this release does not know: down the ladder first, a newer one may be rolling out."""

from __future__ import annotations

from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms", "1500ms")))

if os.environ.get("SCENE_RELEASE") != "old":
    @app.job(queue="mail")
    def newcomer(ctx: Context, number: int) -> None:
        note("end", ctx.job_id)

@app.job(queue="mail")
def known(ctx: Context, number: int) -> None:
    note("end", ctx.job_id)
"""


def test_a_newer_release_still_finds_it_in_the_ladder(make_scene: MakeScene) -> None:
    # Given a job that the old release does not know, and one behind it that it does; the ladder is
    # long enough for a worker to be stopped before it is used up, on a slow machine too
    scene = make_scene(SOURCE.replace("1500ms", "12s"))
    stranger = scene.job("newcomer").enqueue(number=1)
    known = scene.job("known").enqueue(number=2)
    old = scene.worker(SCENE_RELEASE="old")
    eventually(lambda: scene.noted("end")[known.id] == 1, "the known job runs")

    # When the new release takes over before the ladder is used up
    assert old.stop() == 0, old.errors
    assert scene.worker("--drain").wait() == 0

    # Then the job runs, and nothing is dead
    assert scene.noted("end") == {known.id: 1, stranger.id: 1}
    assert scene.dead() == []


def test_nobody_knows_it_and_it_is_dead_with_its_reason(make_scene: MakeScene) -> None:
    # Given a job that is not known here, and one behind it in its partition that is
    scene = make_scene(SOURCE)
    stranger = scene.job("newcomer").enqueue(number=1)
    known = scene.job("known").enqueue(number=2)

    # When a worker drains the queue
    worker = scene.worker("--drain", SCENE_RELEASE="old")
    assert worker.wait() == 0, worker.errors

    # Then the known one ran, and the other is one dead letter as it came
    assert scene.noted("end") == {known.id: 1}
    assert scene.lag() == 0
    (record,) = scene.records("mail.dlq")
    assert record.value == scene.records("mail")[0].value
    told = dict(record.headers)
    assert (told["sj-origin"] or b"").endswith(f":{stranger.partition}:{stranger.offset}".encode())
    assert b"no job 'newcomer'" in (told["sj-error-message"] or b"")
    (letter,) = scene.dead()
    assert (letter["id"], letter["reason"], letter["attempts"]) == (stranger.id, "unknown-job", 3)
    assert letter["args"] == {"number": 1}
