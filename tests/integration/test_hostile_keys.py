"""Keys of other producers: none, empty, no UTF-8, a megabyte: the job runs, fails and dies."""

from __future__ import annotations

from confluent_kafka import Producer
from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    note("start", number, len(ctx.key or ""))
    raise ValueError("down the whole way")
"""


def test_every_key_goes_the_whole_way(make_scene: MakeScene) -> None:
    scene = make_scene(SOURCE)
    send = scene.job("send")
    keys = [None, b"", b"\xff\xfe\x00", b"k" * 1_000_000]
    where = {"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]}
    producer = Producer({**where, "message.max.bytes": 2_000_000})
    for number, key in enumerate(keys):
        value = scene.app.client.outgoing(send.call(number=number)).value
        producer.produce(f"{scene.name}.mail", value, key)
    assert producer.flush(10) == 0

    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    starts = {(words[1], words[2]) for words in scene.journal}
    assert starts == {("0", "0"), ("1", "0"), ("2", "3"), ("3", "1000000")}
    letters = scene.dead()
    assert sorted(letter["args"]["number"] for letter in letters) == [0, 1, 2, 3]
    assert {letter["attempts"] for letter in letters} == {2}
