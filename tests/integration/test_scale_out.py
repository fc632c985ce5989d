"""Workers come and go while jobs run: nothing is lost, and each key keeps its order."""

from __future__ import annotations

from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=8, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, number: int, customer: str) -> None:
    note("start", ctx.job_id, os.getpid(), customer, number)
    time.sleep(0.002)
    note("end", ctx.job_id, os.getpid())
"""
JOBS = 6_000


def test_a_second_worker_takes_over_its_share(make_scene: MakeScene) -> None:
    # Given one worker at work
    scene = make_scene(SOURCE)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(number=n, customer=f"c{n % 500}") for n in range(JOBS))
    first = scene.worker("--concurrency", "4")
    eventually(lambda: len(scene.noted("end")) > 100, "the first works")

    # When a second one joins
    second = scene.worker("--concurrency", "4", "--drain")
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
