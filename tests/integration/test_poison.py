"""Records that are no jobs: into the DLQ as they came, and the partition moves on."""

from __future__ import annotations

import base64

from confluent_kafka import Producer
from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int, note_text: str = "hello") -> None:
    note("end", ctx.job_id)
"""


def test_poison_reaches_the_dlq_as_it_came_and_blocks_nobody(make_scene: MakeScene) -> None:
    # Given poison between two good jobs on the one partition, keys and headers of all kinds
    scene = make_scene(SOURCE)
    send = scene.job("send")
    first = send.enqueue(number=1)
    good = scene.app.client.outgoing(send.call(number=2)).value
    poison: list[bytes | None] = [
        None,
        b"",
        b"\x00",
        b"\x00\x01\x02\x03",
        bytes(range(256)),
        b"\xc3\x01" + b"\x07" * 40,
        good[:-3],
        good + b"\x00",
        good[:10] + b"\xff" * 40,
        b'{"json": true}',
    ]
    producer = Producer({"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]})
    topic = f"{scene.name}.mail"
    keys = [None, b"", b"\xff\xfe", b"k" * 100_000]
    for n, value in enumerate(poison):
        headers: list[tuple[str, str | bytes | None]] = [
            ("sj-attempt", b"-1"),
            ("sj-attempt", b"9" * 30),
            ("x", None),
        ]
        producer.produce(topic, value, keys[n % len(keys)], headers=headers)
    assert producer.flush(10) == 0
    last = send.enqueue(number=3)

    # When a worker drains the queue
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then the good ones ran, and each poison is one dead letter with its bytes
    assert set(scene.noted("end")) == {first.id, last.id}
    dead = scene.dead()
    assert [letter["reason"] for letter in dead] == ["invalid"] * len(poison)
    raw = [None if x["raw"] is None else base64.b64decode(x["raw"]) for x in dead]
    assert sorted(raw, key=repr) == sorted(poison, key=repr)
    assert [x["args"] for x in dead] == [None] * len(poison)
    assert worker.report()["dead"] == len(poison)
