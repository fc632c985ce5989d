"""ordering="partition": one line for each partition, which stands still while its head retries."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from integration.scene import MakeScene, Scene

from streamjobs.kafka.admin import Admin

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("200ms", "400ms")), ordering="partition")

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", number, ctx.attempt, time.time())
    if number % 10 == 3 and ctx.attempt <= 2:
        raise ValueError("not yet")
    if number == 15:
        raise ValueError("never")
    note("ran", number, ctx.key)
"""


def test_the_order_of_a_partition_is_kept_through_retries(make_scene: MakeScene) -> None:
    # Given jobs of many keys, some failing twice, one failing for good
    scene = make_scene(SOURCE)
    send = scene.job("send")
    refs = {n: send.enqueue(f"c{n % 7}", n) for n in range(30)}

    # When a worker with many threads runs them
    worker = scene.worker("--drain", "--concurrency", "8")
    assert worker.wait() == 0, worker.errors

    # Then in each partition every attempt came after the end of all before it in the log
    starts = [(int(w[1]), int(w[2]), float(w[3])) for w in scene.journal if w[0] == "start"]
    for partition in (0, 1):
        line = [n for n, ref in refs.items() if ref.partition == partition]
        mine = [(number, attempt) for number, attempt, _ in starts if number in line]
        tries = Counter({n: 3 if n % 10 == 3 or n == 15 else 1 for n in line})
        assert mine == [(n, attempt) for n in line for attempt in range(1, tries[n] + 1)]
    waits = [
        later - earlier
        for (number, attempt, earlier), (again, next_attempt, later) in pairs(starts, 3)
        if number == again and next_attempt == attempt + 1
    ]
    assert waits[0] >= 0.2
    assert waits[1] >= 0.4

    # And each job has its own key, whatever line it stood in
    keys = {int(words[1]): words[2] for words in scene.journal if words[0] == "ran"}
    assert keys == {n: f"c{n % 7}" for n in refs if n != 15}

    # And the tiers were not used, and the one that failed for good is a dead letter
    assert tier_records(scene) == 0
    assert [letter["args"]["number"] for letter in scene.dead()] == [15]


def pairs(
    starts: list[tuple[int, int, float]], number: int
) -> list[tuple[tuple[int, int, float], tuple[int, int, float]]]:
    """The attempts of one job, each with the next."""
    mine = [start for start in starts if start[0] == number]
    return list(pairwise(mine))


def tier_records(scene: Scene) -> int:
    topics = scene.app.registry.queues["mail"].topics(scene.app.prefix)
    with Admin(scene.app.settings) as admin:
        tiers = topics.tiers_among(admin.topics())
        logs = admin.watermarks((tier, p) for tier in tiers for p in (0, 1))
    assert len(tiers) == 2
    return sum(log.end - log.start for log in logs.values())
