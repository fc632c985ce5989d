"""A job that has ended a process before: its next attempts end children, and the worker lives."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Producer
from integration.scene import MakeScene, Scene, eventually

from streamjobs.kafka.admin import Admin

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms", "200ms", "400ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, what: str) -> None:
    note("start", customer, ctx.attempt, os.getpid())
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "follow":
        ctx.enqueue(send, customer=customer + "s-child", what="")
    note("ran", customer, os.getpid())
"""


def park(scene: Scene, customer: str, what: str) -> None:
    """Put a job into the first tier as if its first attempt had ended the process it ran in."""
    send, main = scene.job("send"), f"{scene.name}.mail"
    job: Any = scene.app.client.outgoing(send.call(customer=customer, what=what))
    with Admin(scene.app.settings) as admin:
        origin = f"{admin.topics([main])[main].topic_id}:0:0"
    headers: Any = {"sj-attempt": "1", "sj-rung": "1", "sj-origin": origin, "sj-crashes": "1"}
    producer = Producer({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    producer.produce(f"{main}.retry.100ms", job.value, job.key, 0, headers=headers)
    assert producer.flush(10) == 0


def test_it_is_dead_at_the_third_crash_and_the_worker_lives(make_scene: MakeScene) -> None:
    # Given a job whose process ended, and another that came to the same end by no fault of its own
    scene = make_scene(SOURCE)
    send = scene.job("send")
    send.enqueue("before", "")
    park(scene, "guilty", "kill")
    park(scene, "innocent", "follow")

    # When a worker comes upon them
    worker = scene.worker()
    eventually(lambda: scene.noted("ran")["innocents-child"], "the child job has run")
    (dead,) = eventually(scene.dead, "a dead letter")
    send.enqueue("after", "")
    eventually(lambda: scene.noted("ran")["after"], "the next job has run")

    # Then the one is dead, with its reason, and the other has run: both in children
    assert worker.stop() == 0, worker.errors
    assert (dead["reason"], dead["attempts"], dead["error_type"]) == ("crashed", 3, "Crashed")
    assert "SIGKILL" in dead["error_message"]
    assert dead["args"] == {"customer": "guilty", "what": "kill"}
    starts = [(w[1], int(w[2])) for w in scene.journal if w[0] == "start"]
    assert [attempt for who, attempt in starts if who == "guilty"] == [2, 3]
    ran = {w[1]: int(w[2]) for w in scene.journal if w[0] == "ran"}
    own = worker.process.pid
    assert {who for who, pid in ran.items() if pid == own} == {"before", "innocents-child", "after"}
    assert ran["innocent"] != own
    report = worker.report()
    assert (report["succeeded"], report["retried"], report["dead"]) == (4, 1, 1)
