"""A DLQ that takes no dead letters: its partition stands still, loudly, and nothing is lost."""

from __future__ import annotations

from integration.scene import MakeScene, eventually, long_session, refusal

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, text: str = "") -> None:
    note("start", customer)
    if text:
        raise DeadLetter("too long for anybody")
    note("end", customer)
"""


def test_what_the_dlq_refuses_holds_its_partition_alone(make_scene: MakeScene) -> None:
    # Given a worker
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    where = {key: send.enqueue(customer=key).partition for key in ("a", "b", "c", "d", "e")}
    bad = next(key for key, partition in where.items() if partition == 0)
    good = next(key for key, partition in where.items() if partition == 1)
    worker = scene.worker("--http", "0", "--log-level", "info")
    eventually(lambda: len(scene.noted("end")) == len(where), "the first jobs are done")

    # When somebody lowers the limit of its DLQ, and a job that is larger dies
    scene.limit("mail.dlq", 2000)
    send.enqueue(customer=bad, text="x" * 50_000)
    eventually(lambda: "partition 0 stands still" in worker.errors, "it is said")
    (line,) = [x for x in worker.errors.splitlines() if "partition 0 stands still" in x]
    assert " ERROR " in line
    assert f"{scene.name}.mail.dlq[0]" in line
    assert "topics apply" in line

    # Then the other partition goes on, and the worker is not ready, with the reason and the remedy
    send.enqueue(customer=bad)
    send.enqueue(customer=good)
    eventually(lambda: scene.noted("end")[good] == 2, "the other partition goes on")
    told = refusal(worker)
    assert "partition 0 stands still" in told
    assert f"{scene.name}.mail.dlq[0]" in told
    assert "topics apply" in told
    assert scene.dead() == []
    assert scene.noted("end")[bad] == 1

    # And when that is done it lands, and what came after it runs, in order
    applied = scene.command("topics", "apply")
    assert applied.returncode == 0, applied.stderr
    eventually(lambda: scene.noted("end")[bad] == 2, "it goes on", within=60)
    (letter,) = eventually(scene.dead, "it has landed")
    assert letter["key"] == bad
    eventually(lambda: "stands still" not in refusal(worker), "it is ready again")
    assert worker.stop() == 0
    assert scene.noted("start")[bad] == 3
