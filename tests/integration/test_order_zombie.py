"""Guarantee 2 when an owner sleeps past its session, and wakes while another runs the head."""

from __future__ import annotations

import signal

from integration.order import attempts, judge
from integration.scene import MakeScene, eventually, short_session

from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("250ms", "15s")))

@app.job(queue="mail", key="customer")
def send(ctx: Context, number: int, customer: str = "ann") -> None:
    note("start", ctx.job_id, os.environ["SCENE_ROLE"])
    if number == 0 and ctx.attempt == 1:
        raise RetryAfter("15s")
    if number == 0 and os.environ["SCENE_ROLE"] == "successor":
        wait_for("go")
    note("end", ctx.job_id)
"""


def test_a_zombie_begins_nothing_of_what_it_remembers(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given an owner that knows of a head in a long tier and of followers behind it, and sleeps.
    # A classic client sees by itself that its session is over; with KIP-848 it does not.
    scene = make_scene(SOURCE, **short_session(group_protocol))
    zombie = scene.worker(SCENE_ROLE="zombie")
    send = scene.job("send")
    line = [send.enqueue(0).id]
    eventually(lambda: attempts(scene, line[0]) == 1, "the head has failed")
    line += [send.enqueue(n).id for n in (1, 2)]
    eventually(lambda: len(scene.records("mail.retry.15s")) == 3, "the followers are moved")
    zombie.signal(signal.SIGSTOP)

    # When another takes over, and the owner wakes while the head runs there
    successor = scene.worker(SCENE_ROLE="successor")
    line += [send.enqueue(n).id for n in (3, 4)]
    eventually(lambda: attempts(scene, line[0]) == 2, "the successor runs the head")
    zombie.signal(signal.SIGCONT)
    eventually(lambda: ": lost" in zombie.errors, "the zombie knows that it is one")
    scene.signal("go")
    eventually(lambda: len(scene.noted("end")) >= len(line), "all have ended")
    assert successor.stop() == 0, successor.errors
    assert zombie.stop() == 0, zombie.errors

    # Then it has begun none of them, and they ran in order, each once
    judge(scene, {"ann": line})
    starts = {words[1]: words[2] for words in scene.journal if words[0] == "start"}
    assert attempts(scene, line[0]) == 2
    assert [attempts(scene, job_id) for job_id in line[1:]] == [1] * 4
    assert starts[line[0]] == "successor"
