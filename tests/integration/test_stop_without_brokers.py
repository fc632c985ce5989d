"""A worker is told to stop while no broker answers: it leaves on time, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from integration.scene import eventually, refusal, scene_of

from streamjobs.clock import monotonic
from streamjobs.kafka.brokers import start_broker
from streamjobs.testing import GroupProtocol, need_kafka

SOURCE = """
from streamjobs.worker import watch
if IN_WORKER:
    watch.LOOK_EVERY = 0.5

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", ctx.job_id)
    wait_for("go")
    note("end", ctx.job_id)
"""
JOBS, BUDGET = 6, 3.0
# A classic member counts its session itself, and gives up what it was assigned when it ends: it has
# to outlast all that is done here until the worker has told what it could not commit.
SESSION = {"kafka_session_timeout_ms": "20000"}
# Seconds beside the budget: far less than the 15 to 45 s for which the client waits by itself.
MORE = 11.0


def test_it_leaves_when_its_budget_is_over(tmp_path: Path, group_protocol: GroupProtocol) -> None:
    # Given a worker with jobs that run, and end when there is no broker any more
    need_kafka(own=True)
    with (
        start_broker("kafka", say=lambda _: None) as broker,
        scene_of(
            SOURCE,
            folder=tmp_path,
            name="stop",
            bootstrap=broker.bootstrap,
            group_protocol=group_protocol,
            **(SESSION if group_protocol == "classic" else {}),
        ) as scene,
    ):
        ids = {scene.job("send").enqueue(customer=f"c{n}").id for n in range(JOBS)}
        worker = scene.worker("--drain-budget", str(BUDGET), "--http", "0")
        eventually(lambda: scene.noted("start").keys() == ids, "they run")
        (node,) = broker.nodes
        node.kill()
        eventually(lambda: "no answer from Kafka" in refusal(worker), "it is not ready")
        scene.signal("go")
        eventually(lambda: scene.noted("end").keys() == ids, "they have ended")

        # When it is told to stop
        began = monotonic()
        assert worker.stop(60) == 0

        # Then it leaves on time, and says what becomes of what it could not commit
        assert monotonic() - began < BUDGET + MORE
        assert "has not taken the last commit within 3 s" in worker.errors

        # And when there is a broker again, those jobs run once more
        node.start()
        assert scene.worker("--drain").wait() == 0
        assert scene.noted("end") == dict.fromkeys(ids, 2)
