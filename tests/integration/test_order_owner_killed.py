"""Guarantee 2 when a shard's owner is killed while jobs of one key lie in several places."""

from __future__ import annotations

from integration.order import attempts, judge, tier_records
from integration.scene import MakeScene, Scene, eventually

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("250ms", "2s", "3s")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    if number == 0 and ctx.attempt == 3:
        wait_for("go-held")  # it may come due before the owner is killed
    note("start", ctx.job_id)
    if number == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    if number == 0 and ctx.attempt == 2:
        wait_for("go-" + customer)
        if customer == "parked":
            raise RetryAfter("3s")
    note("end", ctx.job_id)
"""
# A lane keeps 1,000 followers in memory; those above are moved to a tier for about a second.
# What comes first is more than what is handed over together: the lane has a line.
FIRST, JOBS, MOVED = 100, 1_300, 100
KEYS = ("held", "parked")


def test_a_new_owner_knows_what_was_in_memory_in_both_tiers_and_in_main(
    make_scene: MakeScene,
) -> None:
    # Given two keys whose heads failed once and run again, with more followers than memory keeps:
    # the ones above are in a middle tier
    scene = make_scene(SOURCE)
    member = {"STREAMJOBS_GROUP_INSTANCE_ID": "owner"}  # taken over without a wait
    lines = {key: enqueue(scene, key, 0, FIRST) for key in KEYS}
    first = scene.worker(**member)
    eventually(lambda: all(attempts(scene, lines[key][0]) == 2 for key in KEYS), "heads run again")
    for key in KEYS:
        lines[key] += enqueue(scene, key, FIRST, JOBS)
    eventually(lambda: tier_records(scene, "2s") >= 2 * MOVED, "the surplus is moved")

    # And one head fails again: it is in the long tier, as are those that were in memory
    scene.signal("go-parked")
    eventually(lambda: tier_records(scene, "3s") > MOVED, "the head and its followers are moved")

    # When the owner is killed, later jobs come to main, and another takes over
    first.kill()
    assert set(scene.noted("end")) == set()
    for key in KEYS:
        lines[key] += enqueue(scene, key, JOBS, JOBS + 5)
    scene.signal("go-held")
    second = scene.worker("--drain", **member)
    assert second.wait() == 0, second.errors

    # Then every job has run, in order, and those that had not begun were begun once
    judge(scene, lines)
    starts = scene.noted("start")
    assert {n: count for n, count in starts.items() if count != 1} == {
        lines["held"][0]: 3,
        lines["parked"][0]: 3,
    }


def enqueue(scene: Scene, customer: str, begin: int, end: int) -> list[str]:
    ids = {n: f"{n:08x}-0000-4000-8000-{KEYS.index(customer):012x}" for n in range(begin, end)}
    send = scene.job("send")
    calls = (send.options(id=i).call(customer, n) for n, i in ids.items())
    assert scene.app.enqueue_many(calls).sent == len(ids)
    return list(ids.values())
