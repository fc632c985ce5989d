"""A worker's client loses sight of the coordinator of its transaction, and answers no more."""

from __future__ import annotations

import pytest
from integration.scene import MakeScene, eventually

SOURCE = """
if IN_WORKER:
    from confluent_kafka import KafkaError, KafkaException
    from streamjobs.kafka import cycle, delivery

    cycle.COMMIT_PATIENCE = 1.0

    class Unanswered(delivery.Producer):
        # The first client that commits a transaction gets no answer, then or later.
        deaf = None

        def commit_transaction(self, timeout):
            first = Unanswered.deaf is None
            if first:
                Unanswered.deaf = self
            if Unanswered.deaf is not self:
                return super().commit_transaction(timeout)
            if first and MADE:
                super().commit_transaction(10)
            note("unanswered", str(first))
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))

    delivery.Producer = Unanswered

app.queue("mail", partitions=2, retry=Retry(delays=("300ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)

"""
JOBS = 20


@pytest.mark.parametrize("made", [True, False], ids=["it was made", "it was not"])
def test_it_finds_out_and_moves_each_job_once(make_scene: MakeScene, *, made: bool) -> None:
    # Given jobs that fail once, and a worker whose first transaction is not answered
    scene = make_scene(f"MADE = {made}\n{SOURCE}")
    ids = {scene.job("send").enqueue(customer=f"c{n}").id for n in range(JOBS)}

    # When it runs them
    worker = scene.worker()
    eventually(lambda: scene.noted("end").keys() >= ids, "all have ended", within=60)
    assert worker.stop() == 0, worker.errors

    # Then the outcome was found out, and each was moved once and begun twice, as it should
    assert scene.noted("unanswered").total() > 1
    assert "its commit has failed (no answer)" in worker.errors
    assert ("a commit cycle of" in worker.errors) is not made
    assert scene.noted("start") == dict.fromkeys(ids, 2)
    assert scene.noted("end") == dict.fromkeys(ids, 1)
    assert len(scene.records("mail.retry.300ms")) == JOBS
    assert (scene.lag(), scene.dead()) == (0, [])
