"""A worker stands still with work to commit until its session is over, and wakes as a zombie."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from itertools import pairwise

from integration.scene import MakeScene, Scene, eventually, short_session

from streamjobs.failpoints import VARIABLE
from streamjobs.kafka.admin import Admin
from streamjobs.testing import GroupProtocol

SOURCE = """
from streamjobs.worker import pace

# What has ended is not committed before what has failed is moved.
if IN_WORKER and os.environ["SCENE_ROLE"] == "zombie":
    pace.COMMIT_INTERVAL = 5.0
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))
ended = threading.Event()

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if number == 0 and customer == "bad" and ctx.attempt == 1:
        if os.environ["SCENE_ROLE"] == "zombie":
            ended.wait()
        raise ValueError("not yet")
    note("end", ctx.job_id)
    ended.set()
"""
KEYS = [f"c{n}" for n in range(6)]
Offsets = dict[tuple[str, int], int]


def test_what_it_commits_too_late_is_refused_and_it_joins_again(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker that stands still as it is about to commit: one job has ended, one has failed
    scene = make_scene(SOURCE, **short_session(group_protocol))
    hits = scene.folder / "hits"
    orders = {VARIABLE: f"{hits};cycle.settled=stop@1"}
    zombie = scene.worker(SCENE_ROLE="zombie", **orders)
    eventually(lambda: ": assigned" in zombie.errors, "it is in the group")
    good, bad = (scene.job("send").enqueue(customer=c, number=0).id for c in ("good", "bad"))
    eventually(lambda: "cycle.settled" in hits.read_text(), "it stands still")
    assert (scene.noted("start"), scene.noted("end")) == ({good: 1, bad: 1}, {good: 1})
    offsets: list[Offsets] = []

    def while_watched(true: Callable[[], object], what: str) -> None:
        def watch() -> object:
            offsets.append(committed(scene))
            return true()

        eventually(watch, what)

    # When another takes over, and it wakes
    other = scene.worker(SCENE_ROLE="other")
    while_watched(lambda: scene.noted("end") == {good: 2, bad: 1}, "both have ended elsewhere")
    while_watched(lambda: scene.lag() == 0, "and are committed")
    zombie.signal(signal.SIGCONT)

    # Then its cycle is refused, and it joins again
    refused = r"a commit cycle of 1 move and \d offsets? failed|not a member at present"
    while_watched(lambda: re.search(refused, zombie.errors), "it is told that it is too late")
    while_watched(lambda: zombie.errors.count(": assigned") > 1, "it has joined again")
    more = [scene.job("send").enqueue(customer=c, number=1).id for c in KEYS]
    while_watched(lambda: set(more) <= scene.noted("end").keys(), "later jobs run")
    while_watched(lambda: scene.lag() == 0, "and are committed")

    # And no committed offset went back, nothing was moved twice, and nothing else ran twice
    for before, after in pairwise(offsets):
        assert all(after[place] >= offset for place, offset in before.items())
    assert len(scene.records("mail.retry.100ms")) == 1
    assert zombie.stop() == other.stop() == 0
    starts = {i: [w[2] for w in scene.journal if w[:2] == ["start", i]] for i in (good, bad, *more)}
    assert starts == {good: ["1", "1"], bad: ["1", "1", "2"], **{i: ["1"] for i in more}}


def committed(scene: Scene) -> Offsets:
    group = f"{scene.name}.mail"
    with Admin(scene.app.settings) as admin:
        return admin.committed(group, [(group, number) for number in range(2)])
