"""A job fails its way down the ladder: how often, how late, with what state, in bytes unchanged."""

from __future__ import annotations

import json

from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("300ms", "900ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, how: str) -> None:
    note("start", ctx.job_id, ctx.attempt, time.time())
    if how == "always" or (how == "once" and ctx.attempt == 1):
        raise ValueError("no luck for " + customer)
    if how == "later" and ctx.attempt == 1:
        raise RetryAfter("500ms")
    if how == "discard":
        raise Discard("nothing to do")
    if how == "reject":
        raise DeadLetter("hopeless")
    if how == "exit":
        raise SystemExit(0)
    if how == "os-exit" and ctx.attempt == 1:
        raise KeyboardInterrupt
    note("end", ctx.job_id)
"""


def test_every_way_down_the_ladder(make_scene: MakeScene) -> None:
    # Given a job for each way
    scene = make_scene(SOURCE)
    ways = ["fine", "once", "later", "always", "discard", "reject", "exit", "os-exit"]
    ids = {how: scene.job("send").enqueue(customer="c1", how=how).id for how in ways}

    # When a worker has run them all
    worker = scene.worker("--drain", "--fail-on-dead")
    assert worker.wait() == 3, worker.errors

    # Then each was tried as often as its way says, and never early
    starts: dict[str, list[tuple[int, float]]] = {}
    for kind, job_id, *rest in scene.journal:
        if kind == "start":
            starts.setdefault(job_id, []).append((int(rest[0]), float(rest[1])))
    tries = {how: [number for number, _ in starts[i]] for how, i in ids.items()}
    assert tries == {
        "fine": [1],
        "once": [1, 2],
        "later": [1, 2],
        "always": [1, 2, 3],
        "discard": [1],
        "reject": [1],
        "exit": [1, 2, 3],
        "os-exit": [1, 2],
    }
    first, second, third = (at for _, at in starts[ids["always"]])
    assert second - first >= 0.3
    assert third - second >= 0.9
    later = [at for _, at in starts[ids["later"]]]
    assert later[1] - later[0] >= 0.9, "RetryAfter waits in the shortest tier that is long enough"
    assert set(scene.noted("end")) == {ids[how] for how in ("fine", "once", "later", "os-exit")}

    # And the DLQ says why, and the report and the metrics agree
    dead = {letter["id"]: letter for letter in scene.dead()}
    assert set(dead) == {ids[how] for how in ("always", "reject", "exit")}
    always = dead[ids["always"]]
    assert (always["attempts"], always["reason"]) == (3, "exhausted")
    assert (always["error_type"], always["error_message"]) == ("ValueError", "no luck for c1")
    assert always["args"] == {"customer": "c1", "how": "always"}
    assert (dead[ids["reject"]]["attempts"], dead[ids["reject"]]["reason"]) == (1, "rejected")
    assert dead[ids["exit"]]["error_type"] == "SystemExit"
    report = worker.report()
    assert {k: report[k] for k in ("succeeded", "retried", "dead", "discarded", "released")} == {
        "succeeded": 4,
        "retried": 7,
        "dead": 3,
        "discarded": 1,
        "released": 0,
    }
    assert json.dumps(report)
