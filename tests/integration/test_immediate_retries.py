"""Immediate tries: in the lane, at once, and the ladder is not used for them."""

from __future__ import annotations

from integration.scene import MakeScene, Scene

from streamjobs.kafka.admin import Admin

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms", "200ms"), immediate=2))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int, failures: int) -> None:
    note("start", number, ctx.attempt)
    if ctx.attempt <= failures:
        raise ValueError("not yet")
    note("ran", number)
"""


def tier_ends(scene: Scene) -> list[int]:
    topics = scene.app.registry.queues["mail"].topics(scene.app.prefix)
    with Admin(scene.app.settings) as admin:
        tiers = topics.tiers_among(admin.topics())
        logs = admin.watermarks((tier, 0) for tier in tiers)
    return [logs[tier, 0].end for tier in tiers]


def attempts(scene: Scene) -> list[tuple[int, int]]:
    return [(int(w[1]), int(w[2])) for w in scene.journal if w[0] == "start"]


def test_immediate_tries_use_no_tier(make_scene: MakeScene) -> None:
    # Given a job that fails twice, and one of its key behind it
    scene = make_scene(SOURCE)
    send = scene.job("send")
    send.enqueue("ann", 1, failures=2)
    send.enqueue("ann", 2, failures=0)

    # When they have run
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then the first was tried three times before the second began, and nothing was moved
    assert attempts(scene) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert tier_ends(scene) == [0, 0]
    report = worker.report()
    assert (report["succeeded"], report["retried"], report["dead"]) == (2, 2, 0)


def test_after_them_comes_the_ladder(make_scene: MakeScene) -> None:
    # Given a job that always fails
    scene = make_scene(SOURCE)
    ref = scene.job("send").enqueue("ann", 1, failures=99)

    # When it is dead
    worker = scene.worker("--drain", "--fail-on-dead")
    assert worker.wait() == 3, worker.errors

    # Then it was tried once, twice at once, and once for each rung
    assert attempts(scene) == [(1, n) for n in range(1, 6)]
    assert all(end > 0 for end in tier_ends(scene))
    (letter,) = scene.dead()
    assert (letter["id"], letter["attempts"], letter["reason"]) == (ref.id, 5, "exhausted")
