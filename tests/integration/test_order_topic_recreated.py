"""A main topic is deleted and made again while jobs of the old one wait in a tier."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient
from integration.order import judge
from integration.scene import MakeScene, Scene, eventually

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("2s",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("start", ctx.job_id)
    if number == 0 and ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
KEYS = [f"c{n}" for n in range(5)]


def test_jobs_of_the_old_topic_come_before_those_of_the_new_one(make_scene: MakeScene) -> None:
    # Given jobs that have run, and for each key one that failed and waits
    scene = make_scene(SOURCE)
    lines = {f"done-{n}": enqueue(scene, f"done-{n}", 1, 2) for n in range(5)}
    lines |= {key: enqueue(scene, key, 0) for key in KEYS}
    first = scene.worker()
    eventually(lambda: len(scene.records("mail.retry.2s")) == len(KEYS), "the heads have failed")
    eventually(lambda: scene.lag() == 0, "the others have run")
    assert first.stop() == 0, first.errors

    # When main is deleted and made again, and has more jobs of these keys
    old = scene.records("mail")
    delete(scene, f"{scene.name}.mail")
    scene.create_topics()
    for key in KEYS:
        lines[key] += enqueue(scene, key, 1, 2)
    assert len(scene.records("mail")) < len(old), "offsets begin anew, below the committed ones"
    second = scene.worker("--drain")
    assert second.wait() == 0, second.errors

    # Then nothing is lost, and the old topic's jobs ran first
    judge(scene, lines)
    assert scene.dead() == []


def enqueue(scene: Scene, customer: str, *numbers: int) -> list[str]:
    send = scene.job("send")
    return [send.enqueue(customer, number).id for number in numbers]


def delete(scene: Scene, topic: str) -> None:
    client = AdminClient({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    client.delete_topics([topic])[topic].result(10)

    def gone() -> bool:
        return topic not in client.list_topics(timeout=5).topics

    eventually(gone, "the topic is gone")
