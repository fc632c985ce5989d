"""Keys of other producers: none, empty, no UTF-8, a megabyte: the job runs, fails and dies."""

from __future__ import annotations

from confluent_kafka import Producer
from integration.scene import MakeScene

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context, number: int) -> None:
    note("start", number, len(ctx.key or ""), os.getpid())
    raise ValueError("down the whole way")
"""


def test_every_key_goes_the_whole_way(make_scene: MakeScene) -> None:
    # Given a job under each key, on one partition
    scene = make_scene(SOURCE)
    send = scene.job("send")
    keys = [None, b"", b"\xff\xfe\x00", b"k" * 1_000_000]
    values = [scene.app.client.outgoing(send.call(number=n)).value for n in range(len(keys))]
    where = {"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]}
    producer = Producer({**where, "message.max.bytes": 2_000_000})
    for key, value in zip(keys, values, strict=True):
        producer.produce(f"{scene.name}.mail", value, key)
    assert producer.flush(10) == 0

    # When a worker drains the queue
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then the same process ran each twice
    pid = str(worker.process.pid)
    lengths = ["0", "0", "3", "1000000"]
    assert sorted(words[1:] for words in scene.journal) == sorted(
        [str(n), length, pid] for n, length in enumerate(lengths) for _ in range(2)
    )

    # And each is one dead letter under its key, with its bytes, its place and the reason
    dead = {x.value: x for x in scene.records("mail.dlq")}
    assert len(scene.records("mail.dlq")) == len(keys)
    for n, (key, value) in enumerate(zip(keys, values, strict=True)):
        told = dict(dead[value].headers)
        assert dead[value].key == key
        assert (told["sj-origin"] or b"").endswith(b":0:%d" % n)
        assert (told["sj-attempt"], told["sj-reason"]) == (b"2", b"exhausted")
        assert told["sj-error-message"] == b"down the whole way"
    assert scene.lag() == 0
