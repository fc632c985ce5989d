"""A worker's loop is stuck while it gives partitions back, for longer than its group waits.

Its session goes on, since the client's own threads answer, so that only the interval between polls
tells the group. What it has to commit when it wakes is of partitions that are somebody else's.
"""

from __future__ import annotations

from integration.scene import MakeScene, eventually, short_session

from streamjobs.testing import GroupProtocol

SOURCE = """
from streamjobs.worker import loop

def stuck(name):
    if name == "loop.revoked" and os.environ["SCENE_ROLE"] == "first":
        note("stuck", name)
        wait_for("go")

if IN_WORKER:
    loop.hit = stuck
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if number == 0:
        wait_for("end")
    if number == 0 and customer.startswith("bad") and ctx.attempt == 1:
        note("failed", ctx.job_id)
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
# Milliseconds; above a classic session, and with KIP-848 above what a classic one is by default.
INTERVAL = {"classic": "6500", "consumer": "15500"}
KEYS = ["bad-1", "bad-2", "bad-3", "good-1", "good-2", "good-3"]


def test_what_it_commits_too_late_is_refused_and_it_joins_again(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker with jobs that run in both of its partitions
    interval = {"kafka_max_poll_interval_ms": INTERVAL[group_protocol]}
    scene = make_scene(SOURCE, **interval, **short_session(group_protocol))
    send = scene.job("send")
    heads = {key: send.enqueue(customer=key, number=0) for key in KEYS}
    assert {ref.partition for ref in heads.values()} == {0, 1}
    first = scene.worker("--drain-budget", "3", SCENE_ROLE="first")
    eventually(lambda: len(scene.noted("start")) == len(KEYS), "they run")

    # When another joins and its loop is stuck, though its jobs end, until all is the other's
    second = scene.worker("--drain-budget", "3", SCENE_ROLE="second")
    eventually(lambda: scene.noted("stuck"), "it is to give partitions back")
    scene.signal("end")
    ids = {ref.id for ref in heads.values()}
    bad = {heads[key].id for key in KEYS if key.startswith("bad")}
    eventually(lambda: scene.noted("failed").keys() == bad, "some have failed")
    twice = dict.fromkeys(ids - bad, 2) | dict.fromkeys(bad, 1)
    eventually(lambda: scene.noted("end") == twice, "all have run elsewhere", within=60)
    eventually(lambda: scene.lag() == 0, "and are committed")

    # And it goes on
    scene.signal("go")
    eventually(lambda: first.errors.count(": assigned") > 1, "it has joined again")
    more = [send.enqueue(customer=key, number=n) for key in KEYS for n in (1, 2)]
    eventually(lambda: {r.id for r in more} <= set(scene.noted("end")), "later jobs run")

    # Then nothing of what it had to commit was taken: nothing was moved twice or runs again
    eventually(lambda: scene.lag() == 0, "no offset went back")
    assert len(scene.records("mail.retry.100ms")) == len(bad)
    starts = {
        i: [w[2] for w in scene.journal if w[:2] == ["start", i]] for i in scene.noted("start")
    }
    assert starts == {
        **{i: ["1", "1"] for i in ids - bad},
        **{i: ["1", "1", "2"] for i in bad},
        **{ref.id: ["1"] for ref in more},
    }
    assert first.stop() == second.stop() == 0
