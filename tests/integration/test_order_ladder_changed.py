"""A release with a longer ladder is rolled out and back while an older worker carries on."""

from __future__ import annotations

import pytest
from integration.order import attempts, judge, tier_records
from integration.scene import MakeScene, Scene, eventually

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=os.environ["SCENE_LADDER"].split(",")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, os.environ["SCENE_LADDER"])
    if number == 0 and ctx.attempt == 1:
        raise RetryAfter("3s")
    note("end", ctx.job_id)
"""
OLD, NEW = {"SCENE_LADDER": "250ms"}, {"SCENE_LADDER": "250ms,3s"}
KEYS = [f"c{n}" for n in range(8)]


def test_a_new_tier_appears_and_what_lies_in_it_keeps_its_place(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker of the old release, and one of the new release that joins it with a new tier
    monkeypatch.setenv("SCENE_LADDER", OLD["SCENE_LADDER"])
    scene = make_scene(SOURCE)
    old = scene.worker(**OLD)
    eventually(lambda: "assigned" in old.errors, "the old one works")
    scene.environment.update(NEW)
    assert scene.command("topics", "apply").returncode == 0
    new = scene.worker()
    eventually(lambda: f"{scene.name}.mail[" in new.errors, "the new one has a shard")

    # And heads that fail on either, and followers behind them
    lines = {key: enqueue(scene, key, 0) for key in KEYS}
    eventually(lambda: all(attempts(scene, lines[key][0]) for key in KEYS), "the heads have failed")
    eventually(lambda: tier_records(scene, "3s") > 0, "some wait in the new tier")

    # When the new release is rolled back, and more jobs come
    assert new.stop() == 0, new.errors
    for key in KEYS:
        lines[key] += enqueue(scene, key, 1, 2)
    everything = 3 * len(KEYS)
    eventually(lambda: len(scene.noted("end")) >= everything, "all have ended", within=20)
    assert old.stop() == 0, old.errors

    # Then nothing is lost, and every key kept its order
    judge(scene, lines)
    assert {words[2] for words in scene.journal if words[0] == "start"} == {
        OLD["SCENE_LADDER"],
        NEW["SCENE_LADDER"],
    }


def enqueue(scene: Scene, customer: str, *numbers: int) -> list[str]:
    send = scene.job("send")
    return [send.enqueue(customer, number).id for number in numbers]
