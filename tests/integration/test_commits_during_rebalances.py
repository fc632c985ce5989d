"""Commits and transactions of a busy worker overlap with rebalances: it never stands still."""

from __future__ import annotations

from integration.scene import MakeScene, Scene, eventually, long_session

from streamjobs.kafka.group import GroupConsumer, Partition
from streamjobs.testing import GroupProtocol

SOURCE = """
DONE = os.path.join(os.path.dirname(os.environ["SCENE_JOURNAL"]), "done")
app.queue("mail", partitions=4, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    time.sleep(0 if os.path.exists(DONE) else 0.05)
    if number % 5 == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
JOBS, ROUNDS = 4_000, 2


def come_and_go(scene: Scene, protocol: GroupProtocol) -> None:
    """Be a member for as long as it takes to be given something, and leave."""
    owned: list[Partition] = []
    group = f"{scene.name}.mail"
    guest = GroupConsumer(
        scene.app.settings,
        group,
        [group, f"{group}.retry.100ms"],
        protocol=protocol,
        on_assigned=owned.extend,
        on_revoked=lambda _: None,
        on_lost=lambda _: None,
    )
    try:
        eventually(lambda: guest.poll(0.05) and owned, "the guest has its share")
    finally:
        guest.close()


def goes_on(scene: Scene) -> None:
    before = len(scene.noted("end"))
    assert before < JOBS, "it has to be at work still"
    eventually(lambda: len(scene.noted("end")) > before + 50, "it goes on")


def test_after_each_rebalance_jobs_run_on(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given a worker at work, of which every fifth job fails first
    scene = make_scene(SOURCE)
    long_session(scene)
    send = scene.job("send")
    scene.app.enqueue_many(send.call(customer=f"c{n % 997}", number=n) for n in range(JOBS))
    worker = scene.worker("--concurrency", "4")
    eventually(lambda: len(scene.noted("end")) > 50, "it works")

    # When members come and go, and it has commits and transactions under way all the time
    for _ in range(ROUNDS):
        come_and_go(scene, group_protocol)

        # Then it goes on with them each time
        goes_on(scene)
    # A guest that leaves at once may have been given nothing.
    assert worker.errors.count(": revoked") >= 1

    # And in the end each attempt was made once, and all is committed
    scene.signal("done")
    eventually(lambda: len(scene.noted("end")) == JOBS, "all have ended", within=60)
    starts = [tuple(words[1:]) for words in scene.journal if words[0] == "start"]
    assert len(starts) == len(set(starts)) == JOBS + JOBS // 5
    eventually(lambda: scene.lag() == 0, "all is committed")
    assert worker.stop() == 0, worker.errors
