"""A job as large as main takes, whose headers grow on its way: it still lands, body unchanged."""

from __future__ import annotations

import pytest
from integration.scene import MakeScene

from streamjobs.errors import EnqueueError

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, text: str) -> None:
    note("start", len(text))
    raise ValueError("\\U0001F600" * 2_000_000)
"""
LIMIT = 1_048_588


def test_the_largest_job_that_main_takes_can_fail_and_die(make_scene: MakeScene) -> None:
    # Given the largest job that can be enqueued, found by asking
    scene = make_scene(SOURCE)
    send = scene.job("send")
    low, high = 1_000_000, LIMIT
    while high - low > 1:
        middle = (low + high) // 2
        try:
            send.enqueue(text="x" * middle)
            low = middle
        except EnqueueError:
            high = middle
    with pytest.raises(EnqueueError, match=r"1,048,588|1048588"):
        send.enqueue(text="x" * high)

    # When it fails and dies with two megabytes of message
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then it is in the DLQ with all of its body, byte for byte
    sent = {record.offset: record.value for record in scene.records("mail")}
    dead = scene.records("mail.dlq")
    assert len(dead) == len(sent)
    for record in dead:
        origin = dict(record.headers)["sj-origin"] or b""
        assert record.value == sent[int(origin.split(b":")[2])]
    letters = scene.dead()
    assert max(len(letter["args"]["text"]) for letter in letters) == low
    assert {letter["attempts"] for letter in letters} == {2}
    assert all(letter["error_message"].endswith("[...]") for letter in letters)
