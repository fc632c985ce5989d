"""A DLQ is deleted, and then a job dies: its partition stands still, loudly, and no other one."""

from __future__ import annotations

from integration.scene import MakeScene, eventually, long_session, refusal
from integration.stream import EVERY, longest_wait, streaming

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, dies: bool = False) -> None:
    note("start", ctx.job_id, customer, time.monotonic())
    if dies:
        raise DeadLetter("nobody wants it")
    note("end", customer)
"""
# Seconds that one of the other partition's jobs may wait: a cycle that waited for the record's
# delivery would hold it up for 10 s.
PATIENCE = 8.0


def test_its_partition_stands_still_alone_until_the_topic_is_back(make_scene: MakeScene) -> None:
    # Given a worker, and a stream of jobs in partition 1
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    where = {key: send.enqueue(customer=key).partition for key in ("a", "b", "c", "d", "e")}
    bad = next(key for key, partition in where.items() if partition == 0)
    good = next(key for key, partition in where.items() if partition == 1)
    worker = scene.worker("--http", "0")
    eventually(lambda: len(scene.noted("end")) == len(where), "the first jobs are done")
    eventually(lambda: scene.lag() == 0, "which is committed")
    with streaming(scene, good):
        eventually(lambda: scene.noted("end")[good] > 5, "they run")

        # When the DLQ is deleted, and a job of partition 0 dies
        scene.delete("mail.dlq")
        dead = send.enqueue(customer=bad, dies=True)

        # Then it is told as an error, with the remedy, and the worker is not ready
        eventually(lambda: "partition 0 stands still" in worker.errors, "it is told")
        told = refusal(worker)
        assert f"{scene.name}.mail.dlq" in told
        assert "topics apply" in told
        (line,) = [x for x in worker.errors.splitlines() if "partition 0 stands still" in x]
        assert " ERROR " in line
        assert f"{scene.name}.mail.dlq" in line
        assert "topics apply" in line

        # And nothing of it is committed or begun, although it is tried again; the others go on
        after = send.enqueue(customer=bad)
        so_far = scene.noted("end")[good]
        eventually(lambda: scene.noted("end")[good] > so_far + 6 / EVERY, "two more tries")
        assert scene.committed(dead.partition) == dead.offset
        assert scene.noted("end")[bad] == 1
        assert longest_wait(scene, good) < PATIENCE

        # And when the topic is there again, the job is in it, once, and the next one has run
        scene.create_topics()
        eventually(lambda: not refusal(worker), "it is ready again")
    eventually(lambda: scene.noted("end")[bad] == 2, "the next one has run")
    eventually(lambda: scene.lag() == 0, "all is committed")
    assert worker.stop() == 0, worker.errors
    (letter,) = scene.dead()
    assert letter["id"] == dead.id
    assert scene.noted("start")[dead.id] == scene.noted("start")[after.id] == 1
    assert longest_wait(scene, good) < PATIENCE
