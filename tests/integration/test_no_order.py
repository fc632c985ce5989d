"""ordering="none": a failed job holds up nobody, those of its key included."""

from __future__ import annotations

from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("3s",)), ordering="none")

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if number == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    if number == 0:
        wait_for("go")
    note("ran", number, ctx.key)
"""


def test_followers_pass_a_parked_key(make_scene: MakeScene) -> None:
    # Given a job that fails, and ten of its key behind it
    scene = make_scene(SOURCE)
    send = scene.job("send")
    scene.app.enqueue_many(send.call("ann", number) for number in range(11))

    # When a worker runs them
    worker = scene.worker("--drain", "--concurrency", "4")
    eventually(lambda: len(scene.noted("ran")) == 10, "the followers have run")

    # Then they ran while the first waits, which runs last
    assert "0" not in scene.noted("ran")
    scene.signal("go")
    assert worker.wait() == 0, worker.errors
    ran = [words[1] for words in scene.journal if words[0] == "ran"]
    assert ran[-1] == "0"
    assert sorted(map(int, ran)) == list(range(11))
    assert {words[2] for words in scene.journal if words[0] == "ran"} == {"ann"}
    report = worker.report()
    assert (report["succeeded"], report["retried"]) == (11, 1)
