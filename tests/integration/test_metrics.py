"""What a worker tells of itself over HTTP while it runs."""

from __future__ import annotations

import re
import urllib.request

from conftest import MakeScene
from scene import eventually

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
    found = eventually(lambda: re.search(r"HTTP on 127.0.0.1:(\d+)", worker.errors), "HTTP")

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {x.rsplit(" ", 1)[0]: float(x.rsplit(" ", 1)[1]) for x in lines if x[0] != "#"}

    def count(outcome: str) -> float:
        labels = f'job_name="send",outcome="{outcome}",queue="mail"'
        return metrics().get(f"streamjobs_attempts_finished_total{{{labels}}}", 0)

    eventually(lambda: count("dead") == 1, "the dead one is counted")
    assert (count("succeeded"), count("retried")) == (9, 1)
    with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/readyz", timeout=5) as answer:
        assert answer.status == 200
    assert worker.stop() == 0
