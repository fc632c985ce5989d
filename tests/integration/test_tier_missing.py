"""A retry topic is deleted, and then a job fails: its partition stands still, and no other one."""

from __future__ import annotations

from integration.scene import MakeScene, eventually, refusal
from integration.stream import EVERY, longest_wait, streaming

SOURCE = """
from streamjobs.worker import watch
if IN_WORKER:
    watch.LOOK_EVERY = 0.5

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, fails: bool = False) -> None:
    note("start", ctx.job_id, customer, time.monotonic())
    if fails and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id, customer)
"""
TIER = "mail.retry.100ms"
# Seconds that one of the other partition's jobs may wait: a cycle that waited for the record's
# delivery would hold it up for 10 s.
PATIENCE = 8.0


def test_its_partition_waits_for_the_topic_and_the_others_go_on(make_scene: MakeScene) -> None:
    # Given a worker, and a stream of jobs in partition 1
    scene = make_scene(SOURCE)
    send = scene.job("send")
    where = {key: send.enqueue(customer=key).partition for key in ("a", "b", "c", "d", "e")}
    bad = next(key for key, partition in where.items() if partition == 0)
    good = next(key for key, partition in where.items() if partition == 1)
    worker = scene.worker("--http", "0", "--log-level", "info")
    eventually(lambda: len(scene.noted("end")) == len(where), "the first jobs are done")
    eventually(lambda: scene.lag() == 0, "which is committed")
    with streaming(scene, good):
        eventually(lambda: len(scene.noted("end")) > len(where) + 5, "they run")

        # When the retry topic is deleted, and a job of partition 0 fails
        scene.delete(TIER)
        failed = send.enqueue(customer=bad, fails=True)

        # Then it is told as an error, with the remedy, and the worker is not ready
        eventually(lambda: "partition 0 stands still" in worker.errors, "it is told")
        told = refusal(worker)
        assert f"{scene.name}.{TIER}" in told
        assert "topics apply" in told
        line = next(x for x in worker.errors.splitlines() if "partition 0 stands still" in x)
        assert " ERROR " in line
        assert f"{scene.name}.{TIER}" in line
        assert "topics apply" in line

        # And nothing of it is committed, nor begun behind it, and the others go on
        after = send.enqueue(customer=bad)
        so_far = len(scene.noted("end"))
        eventually(lambda: len(scene.noted("end")) > so_far + 6 / EVERY, "two more tries")
        assert scene.committed(failed.partition) == failed.offset
        assert longest_wait(scene, good) < PATIENCE

        # And when the topic is there again, the job is in it, once, and both run to their ends
        scene.create_topics()
        eventually(lambda: not refusal(worker), "it is ready again")
        eventually(lambda: scene.noted("end")[after.id], "the next one has run")
        assert longest_wait(scene, good) < PATIENCE
    eventually(lambda: scene.lag() == 0, "all is committed")
    assert worker.stop() == 0, worker.errors
    assert len(scene.records(TIER)) == 1
    assert set(scene.noted("end").values()) == {1}
    ids = [words[:2] for words in scene.journal]
    assert ids.index(["end", failed.id]) < ids.index(["start", after.id])
