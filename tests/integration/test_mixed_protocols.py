"""Workers of both group protocols in one group, as during a change from one to the other."""

from __future__ import annotations

from integration.order import judge_numbers
from integration.scene import MakeScene, eventually, long_session

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=4, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt, customer, number)
    time.sleep(0.005)
    if number == 3 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
JOBS, KEYS = 1_000, 50
# By protocol, what a worker is told; with KIP-848 sessions are the brokers' to say.
SESSION: dict[GroupProtocol, dict[str, str]] = {
    "classic": {"STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS": "45000"},
    "consumer": {},
}


def test_a_change_of_protocol_loses_and_repeats_nothing(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker that speaks one protocol; no session ends by itself, on a slow machine either
    scene = make_scene(SOURCE)
    long_session(scene, mixed=True)
    send = scene.job("send")
    other: GroupProtocol = "consumer" if group_protocol == "classic" else "classic"
    first = scene.worker("--concurrency", "2", **SESSION[group_protocol])
    eventually(lambda: ": assigned" in first.errors, "the first is there")
    scene.app.enqueue_many(
        send.call(customer=f"c{n % KEYS}", number=n // KEYS) for n in range(JOBS)
    )
    eventually(lambda: len(scene.noted("end")) > 20, "it works")

    # When one of the other protocol joins, and then takes its place
    second = scene.worker(
        *("--concurrency", "2"), STREAMJOBS_GROUP_PROTOCOL=other, **SESSION[other]
    )
    eventually(lambda: ": assigned" in second.errors, "the second is there", within=40)
    assert first.stop() == 0, first.errors

    # Then all has ended once, and each key kept its order
    eventually(lambda: len(scene.noted("end")) == JOBS, "all have ended", within=60)
    assert set(scene.noted("end").values()) == {1}
    judge_numbers(scene)
    assert second.stop() == 0, second.errors
