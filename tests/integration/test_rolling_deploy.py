"""Workers are replaced one by one while jobs run: nothing is lost, nothing runs twice."""

from __future__ import annotations

from integration.order import judge_numbers
from integration.scene import MakeScene, WorkerProcess, eventually, long_session, long_sessions

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=6, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt, customer, number)
    time.sleep(0.01)
    if number % 10 == 3 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
JOBS, KEYS, WORKERS = 3_000, 100, 3


def test_nothing_is_lost_and_nothing_runs_twice(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given three workers with a lot to do, whose sessions do not end on a slow machine
    scene = make_scene(SOURCE, **long_sessions(group_protocol))
    long_session(scene)
    send = scene.job("send")
    fleet = [scene.worker("--concurrency", "2") for _ in range(WORKERS)]
    eventually(lambda: all(": assigned" in w.errors for w in fleet), "all are there", within=40)
    scene.app.enqueue_many(
        send.call(customer=f"c{n % KEYS}", number=n // KEYS) for n in range(JOBS)
    )
    eventually(lambda: len(scene.noted("end")) > 50, "they work")

    # When each is replaced in turn
    def replace(old: WorkerProcess) -> WorkerProcess:
        new = scene.worker("--concurrency", "2")
        eventually(lambda: ": assigned" in new.errors, "the new one is there", within=40)
        assert old.stop() == 0, old.errors
        return new

    fleet = [replace(old) for old in fleet]

    # Then all has ended once, each attempt was made once, and each key kept its order
    eventually(lambda: len(scene.noted("end")) == JOBS, "all have ended", within=60)
    assert set(scene.noted("end").values()) == {1}
    attempts = [tuple(words[1:3]) for words in scene.journal if words[0] == "start"]
    assert len(attempts) == len(set(attempts)) == JOBS + JOBS // 10
    judge_numbers(scene)
    assert [worker.stop() for worker in fleet] == [0] * WORKERS
