"""What a worker tells of itself over HTTP while it runs."""

from __future__ import annotations

from integration.scene import MakeScene, eventually

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(number: int) -> None:
    note("start", number)
    if number == 0:
        raise ValueError("never")
"""


def test_outcomes_are_counted_by_job_and_nobody_elses_name(make_scene: MakeScene) -> None:
    scene = make_scene(SOURCE)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(number=n) for n in range(10))
    worker = scene.worker("--http", "0")

    def count(outcome: str) -> float:
        labels = f'job_name="send",outcome="{outcome}",queue="mail"'
        return worker.metrics().get(f"streamjobs_attempts_finished_total{{{labels}}}", 0)

    # Shards start one by one: the dead one may be done before the other partition has begun.
    expected = {"succeeded": 9, "retried": 1, "dead": 1, "discarded": 0, "released": 0}
    eventually(lambda: {name: count(name) for name in expected} == expected, "all are counted")
    assert worker.stop() == 0
