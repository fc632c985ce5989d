"""A job that kills its worker each time is dead at its third crash; it ends one worker at most."""

from __future__ import annotations

import signal

from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms", "200ms", "300ms", "400ms")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", customer, os.getpid())
    if customer == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    note("end", customer)
"""
OTHERS = 200


def test_it_is_parked_in_the_dlq_and_all_others_run(make_scene: MakeScene) -> None:
    # Given a job among others that kills the process it runs in
    scene = make_scene(SOURCE)
    send = scene.job("send")
    calls = [send.call(customer=f"c{n}") for n in range(OTHERS)]
    calls.insert(OTHERS // 2, send.call(customer="killer"))
    assert scene.app.enqueue_many(calls).sent == OTHERS + 1

    # When workers are started, each after the one before was killed
    ends: list[int] = []
    while not ends or (ends[-1] != 0 and len(ends) < 4):
        worker = scene.worker("--drain", STREAMJOBS_GROUP_INSTANCE_ID="owner")
        ends.append(worker.wait())

    # Then the first alone was killed; the crashes after it were of child processes, and counted
    assert ends == [-signal.SIGKILL, 0]
    starts = scene.noted("start")
    (letter,) = scene.dead()
    assert letter["reason"] == "crashed"
    assert letter["attempts"] == 3
    assert starts.pop("killer") == 4
    assert set(scene.noted("end")) == {f"c{n}" for n in range(OTHERS)}
    assert scene.lag() == 0
