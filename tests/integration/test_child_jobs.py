"""Child jobs come into being with their parent's success, and not before."""

from __future__ import annotations

from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))
app.queue("parcels", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="parcels", key="parent")
def child(ctx: Context, parent: str, attempt: int) -> None:
    note("child", parent, attempt)

@app.job(queue="mail")
def parent(ctx: Context, how: str) -> None:
    ctx.enqueue(child, parent=ctx.job_id, attempt=ctx.attempt)
    note("parent", ctx.job_id)
    if how == "twice" and ctx.attempt == 1:
        raise ValueError("first")
    if how == "never":
        raise DeadLetter("no")
"""


def test_an_attempt_that_fails_has_no_children(make_scene: MakeScene) -> None:
    scene = make_scene(SOURCE)
    ids = {how: scene.job("parent").enqueue(how=how).id for how in ("once", "twice", "never")}

    assert scene.worker("--drain").wait() == 0
    worker = scene.worker("--drain", queue="parcels")
    assert worker.wait() == 0, worker.errors

    children = sorted(words[1:] for words in scene.journal if words[0] == "child")
    assert children == sorted([[ids["once"], "1"], [ids["twice"], "2"]])
