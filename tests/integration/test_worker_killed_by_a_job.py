"""A job that takes its whole worker down, out of a child process too, is dead in the end."""

from __future__ import annotations

import signal

import pytest
from integration.scene import MakeScene

# It ends what a container's kernel ends that is out of memory: the worker, and what runs the job.
SOURCE = """
import sys

app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", customer, ctx.attempt)
    if customer == "killer" and ctx.job_id == os.environ["KILLER"]:
        if sys.argv[0].endswith("child.py"):
            os.kill(int(sys.argv[-1]), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    note("end", customer)
"""
KILLER = "00000000-0000-4000-8000-000000000001"
OTHERS, FOLLOWERS = 60, 3
# One death in a thread, three in a child among others, three alone.
MOST = 7


@pytest.mark.timeout(300)  # under KIP-848 each death is missed when its session has ended
def test_it_is_dead_after_three_workers_that_died_while_it_ran_alone(
    make_scene: MakeScene,
) -> None:
    # Given a job among others that kills the process it runs in, and the worker
    scene = make_scene(SOURCE)
    send = scene.job("send")
    calls = [send.call(customer=f"c{n}") for n in range(OTHERS)]
    killer = [send.options(id=KILLER).call(customer="killer")]
    killer += [send.call(customer="killer") for _ in range(FOLLOWERS)]
    calls[OTHERS // 2 : OTHERS // 2] = killer
    assert scene.app.enqueue_many(calls).sent == len(calls)

    # When workers are started, each after the one before was killed
    ends: list[int] = []
    while not ends or (ends[-1] != 0 and len(ends) <= MOST):
        worker = scene.worker("--drain", STREAMJOBS_GROUP_INSTANCE_ID="owner", KILLER=KILLER)
        ends.append(worker.wait())

    # Then it is dead, all others have run, those of its key after its last start, and nobody dies
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0], worker.errors
    assert len(ends) <= MOST + 1
    (letter,) = scene.dead()
    assert (letter["reason"], letter["attempts"], letter["id"]) == ("crashed", 1, KILLER)
    assert "the whole worker ended 3 times" in letter["error_message"]
    (record,) = scene.records("mail.dlq")
    assert dict(record.headers)["sj-crashes"] == b"3"
    ended = scene.noted("end")
    assert ended.pop("killer") == FOLLOWERS
    assert set(ended) == {f"c{n}" for n in range(OTHERS)}
    alone = [w[2] for w in scene.journal if w[:2] == ["start", "killer"]]
    assert alone[: len(ends) - 1] == ["1"] * (len(ends) - 1)
    assert scene.lag() == 0
