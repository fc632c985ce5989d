"""Workers come and go while jobs run: nothing is lost, and each key keeps its order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

from integration.scene import MakeScene, Scene, eventually, long_session, long_sessions

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka.admin import Admin
from streamjobs.testing import GroupProtocol

SOURCE = """
JOINED = os.path.join(os.path.dirname(os.environ["SCENE_JOURNAL"]), "joined")
app.queue("mail", partitions=8, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, number: int, customer: str) -> None:
    note("start", ctx.job_id, os.getpid(), customer, number)
    time.sleep(0.002 if os.path.exists(JOINED) else 0.05)
    note("end", ctx.job_id, os.getpid())
"""
JOBS = 4_000
PARTITIONS = 8
Offsets = dict[tuple[str, int], int]


def watch_commits(scene: Scene, until: Callable[[], bool]) -> list[Offsets]:
    """Ask again and again what is committed."""
    seen: list[Offsets] = []
    group = f"{scene.name}.mail"
    with Admin(scene.app.settings) as admin:

        def ended() -> bool:
            with suppress(BrokerUnavailable):  # a busy one is asked again
                seen.append(admin.committed(group, [(group, p) for p in range(PARTITIONS)]))
            return until()

        eventually(ended, "drained", within=60)
    return seen


def test_a_second_worker_takes_over_its_share(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given one worker at work, in a group whose sessions do not end on a slow machine
    scene = make_scene(SOURCE, **long_sessions(group_protocol))
    long_session(scene)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(number=n, customer=f"c{n % 500}") for n in range(JOBS))
    first = scene.worker("--concurrency", "4")
    eventually(lambda: len(scene.noted("end")) > 100, "the first works")

    # When a second one joins
    second = scene.worker("--concurrency", "4", "--drain")
    eventually(lambda: ": assigned" in second.errors, "the second is there")
    scene.signal("joined")
    commits = watch_commits(scene, until=lambda: second.process.poll() is not None)
    assert second.wait() == 0, second.errors
    assert first.stop() == 0, first.errors

    # Then both have worked, everything has ended, and each key's jobs began in their order
    ends = scene.noted("end")
    workers = {words[2] for words in scene.journal if words[0] == "end"}
    assert len(ends) == JOBS
    assert len(workers) == 2
    seen: dict[str, int] = {}
    firsts = set()
    for words in scene.journal:
        if words[0] == "start" and words[1] not in firsts:
            firsts.add(words[1])
            assert int(words[4]) > seen.get(words[3], -1)
            seen[words[3]] = int(words[4])

    # And no committed offset ever went back, and no job ran twice
    assert len(commits) > 2
    for before, after in pairwise(commits):
        assert all(after.get(place, -1) >= offset for place, offset in before.items())
    starts = scene.noted("start")
    assert sum(starts.values()) == JOBS
