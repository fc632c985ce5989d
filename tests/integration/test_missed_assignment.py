"""A client misses what its group has given it: seen by the group's own word, and mended."""

from __future__ import annotations

import threading

from integration.scene import MakeScene, eventually

SOURCE = """
from streamjobs.kafka.group import GroupConsumer
from streamjobs.worker import watch

def misses(consumer, client, partitions):
    if not os.path.exists("missed"):
        open("missed", "w").close()
        partitions = [each for each in partitions if each.partition != 1]
    hands_over(consumer, client, partitions)

if IN_WORKER:
    watch.LOOK_EVERY = 2.0
    hands_over, GroupConsumer._on_assign = GroupConsumer._on_assign, misses

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("end", ctx.job_id)
"""
# Looks that a worker has to be left alone by, once all is right.
QUIET = 7.0


def test_it_joins_again_once_and_runs_what_nobody_ran(make_scene: MakeScene) -> None:
    # Given a worker whose client hands over one of two partitions only, and jobs in both
    scene = make_scene(SOURCE)
    refs = [scene.job("send").enqueue(customer=f"c{n}") for n in range(12)]
    missed = {ref.id for ref in refs if ref.partition == 1}
    assert 0 < len(missed) < len(refs)
    worker = scene.worker()
    eventually(lambda: len(scene.noted("end")) >= len(refs) - len(missed), "those of one run")

    # When its group says for a while that it has both, then it joins again, and all run
    eventually(lambda: "joins the group again" in worker.errors, "it is seen")
    eventually(lambda: scene.noted("end").keys() >= missed, "the others run")

    # And it is left alone from then on
    threading.Event().wait(QUIET)
    assert worker.errors.count("joins the group again") == 1, worker.errors
    assert set(scene.noted("end").values()) == {1}
    assert worker.stop() == 0
