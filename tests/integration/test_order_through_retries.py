"""Guarantees 2 and 5 at once, each key a worked case: order through retries, and free keys run."""

from __future__ import annotations

from integration.order import attempts, judge, tier_records
from integration.scene import MakeScene, Scene, eventually

# A predecessor due within two seconds is waited for in memory: only behind the longest tier are
# followers moved.
SOURCE = """
app.queue(
    "mail", partitions=4, retry=Retry(delays=("250ms", "500ms", "10s")), breaker=None
)

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, plan: str = "") -> None:
    note("start", ctx.job_id, customer)
    steps = plan.split()
    step = steps[ctx.attempt - 1] if ctx.attempt <= len(steps) else "end"
    if step == "fail":
        raise ValueError("not yet")
    if step == "long":
        raise RetryAfter("10s")
    if step == "dead":
        note("dead", ctx.job_id)
        raise DeadLetter("hopeless")
    if step == "last":
        note("dead", ctx.job_id)
        raise ValueError("no rung is left")
    note("end", ctx.job_id)
"""
# By key, what its jobs do in each of their attempts.
CASES = {
    "fails-twice": ("fail fail", "", ""),
    "follower-fails-first-from-long-tier": ("long", "fail", ""),
    "head-dies": ("fail dead", "", ""),
    "head-dies-from-long-tier": ("long dead", "", ""),
    "all-fail": ("fail", "fail fail", "fail"),
    "ladder-used-up": ("fail fail fail last", "", ""),
    "follower-dies": ("fail", "long dead", ""),
}
PARKED = 1_000


def enqueue(scene: Scene, customer: str, *plans: str) -> list[str]:
    send = scene.job("send")
    return [send.enqueue(customer, plan).id for plan in plans]


def test_each_key_keeps_its_order_and_1_000_parked_ones_hold_up_no_free_one(
    make_scene: MakeScene,
) -> None:
    # Given keys whose jobs fail in every way, 1,000 that wait for 10 s, and a free one behind them
    scene = make_scene(SOURCE)
    lines = {key: enqueue(scene, key, *plans) for key, plans in CASES.items()}
    send = scene.job("send")
    crowd = {f"parked-{n}": f"{n:08x}-0000-4000-8000-000000000000" for n in range(PARKED)}
    calls = (send.options(id=i).call(customer, "long") for customer, i in crowd.items())
    assert scene.app.enqueue_many(calls).sent == PARKED
    lines |= {customer: [job_id] for customer, job_id in crowd.items()}
    lines["free"] = enqueue(scene, "free", *[""] * 20)

    # When one more job fails, and its follower arrives while it waits
    worker = scene.worker()
    lines["follower-arrives"] = enqueue(scene, "follower-arrives", "fail")
    eventually(lambda: attempts(scene, lines["follower-arrives"][0]), "the head has begun")
    lines["follower-arrives"] += enqueue(scene, "follower-arrives", "", "")
    everything = sum(map(len, lines.values()))
    eventually(lambda: ended(scene) == everything, "all have ended", within=60)
    assert worker.stop() == 0, worker.errors

    # Then every key kept its order, nothing is lost and nothing ended twice
    judge(scene, lines)
    tries = {key: [attempts(scene, i) for i in lines[key]] for key in CASES}
    assert tries["fails-twice"] == [3, 1, 1]
    assert tries["follower-fails-first-from-long-tier"] == [2, 2, 1]
    assert tries["ladder-used-up"] == [4, 1, 1]

    # And the free key's jobs had all run before any of the 1,000 came due
    order = [(words[0], words[2] if words[0] == "start" else words[1]) for words in scene.journal]
    free = max(order.index(("end", i)) for i in lines["free"])
    seen: set[str] = set()
    for at, (kind, customer) in enumerate(order):
        if kind == "start" and customer in crowd:
            assert customer not in seen or at > free, f"{customer} came due before the free key ran"
            seen.add(customer)

    # And those behind a long wait were moved out of memory: beside the ones that failed
    failed = PARKED + sum("long" in plan for plans in CASES.values() for plan in plans)
    assert tier_records(scene, "10s") > failed


def ended(scene: Scene) -> int:
    return len(scene.noted("end")) + len(scene.noted("dead"))
