"""Two jobs under one id: nothing looks ids up, so both go their way."""

from __future__ import annotations

from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="name")
def send(ctx: Context, name: str) -> None:
    note("start", ctx.job_id, name, ctx.attempt)
    if name.startswith("bad"):
        raise ValueError(name)
"""
ID = "00000000-0000-4000-8000-000000000000"


def test_all_jobs_of_one_id_run_and_can_be_told_apart_when_dead(make_scene: MakeScene) -> None:
    # Given jobs under one id, some of one key
    scene = make_scene(SOURCE)
    send = scene.job("send").options(id=ID)
    names = ["good", "good", "other", "bad", "bad", "bad-too"]
    refs = {name: send.enqueue(name) for name in names}
    assert {ref.id for ref in refs.values()} == {ID}

    # When they are run
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then each has run for itself, and been tried again for itself
    ran = sorted((words[2], int(words[3])) for words in scene.journal)
    once = [("good", 1), ("good", 1), ("other", 1)]
    assert ran == sorted([*once, *[("bad", 1), ("bad", 2)] * 2, ("bad-too", 1), ("bad-too", 2)])

    # And each that died is there, under its place
    dead = scene.dead()
    assert [letter["id"] for letter in dead] == [ID] * 3
    assert len({(letter["partition"], letter["offset"]) for letter in dead}) == 3
