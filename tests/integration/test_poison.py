"""Records that are no jobs: into the DLQ as they came, and the partition moves on."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable
from typing import Any

import fastavro
from confluent_kafka import Producer
from integration.scene import MakeScene, Scene

SOURCE = """
from typing import Literal

app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(
    ctx: Context, number: int, colour: Literal["red", "blue"], tags: list[str], maybe: int | None
) -> None:
    note("end", ctx.job_id, os.getpid())
"""
# What send(2, "blue", ["a", "b"], 5) ends with: a long, an enum, an array of two, a union.
NUMBER, COLOUR, TAGS, MAYBE = b"\x04", b"\x02", b"\x04\x02a\x02b\x00", b"\x02\x0a"
Poison = dict[str, tuple[bytes | None, str]]


def long(value: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


class Forger:
    """Writes records of the job ``send`` that it never would, under schemas that are in the log."""

    def __init__(self, scene: Scene) -> None:
        self.scene, send = scene, scene.job("send")
        call = send.call(number=2, colour="blue", tags=["a", "b"], maybe=5)
        self.good = scene.app.client.outgoing(call).value
        self.schema = send.encoder.schema
        tail = NUMBER + COLOUR + TAGS + MAYBE
        assert self.good.endswith(tail)
        self.head = self.good[: -len(tail)]

    def ending(self, *parts: bytes) -> bytes:
        """The good record with other arguments in it."""
        return self.head + b"".join(parts)

    def under(self, change: Callable[[list[Any]], object], args: bytes) -> bytes:
        """Arguments under a schema whose argument fields were changed."""
        schema = json.loads(self.schema)
        change(schema["fields"][-1]["type"]["fields"])
        topic = f"{self.scene.name}.mail"
        prefix = self.scene.app.store.prefix(topic, "forged", json.dumps(schema))
        return prefix + self.head[10:] + args


def retyped(kind: Any) -> Callable[[list[Any]], None]:
    """The first argument is of another type, and there is no other."""

    def change(fields: list[Any]) -> None:
        fields[0]["type"] = kind
        del fields[1:]

    return change


def poison(forger: Forger) -> Poison:
    """Every case of the catalogue: its bytes, and words of the reason that has to be told."""
    good, ending, under = forger.good, forger.ending, forger.under
    node = {
        "type": "record",
        "name": "node",
        "fields": [{"name": "next", "type": ["null", "node"]}],
    }
    text = {"type": "string"}
    return {
        "D42 tombstone": (None, "tombstone"),
        "D42 no bytes": (b"", "0 bytes"),
        "D42 random bytes": (random.Random(42).randbytes(200), "jobs begin with c301"),
        "D42 wrong magic byte": (b"\xc3\x02" + good[2:], "jobs begin with c301"),
        "D42 unknown fingerprint": (b"\xc3\x01" + b"\x07" * 40, "no schema of fingerprint"),
        "D42 other format": (b'{"json": true}', "jobs begin with c301"),
        "D43 cut short": (good[:-3], ""),
        "D43 cut in the envelope": (good[:20], ""),
        "D43 prefix only": (good[:10], ""),
        "D44 a byte left over": (good + b"\x00", "left over"),
        "D44 junk left over": (good + b"junk that follows", "left over"),
        "D47 wrong type": (under(retyped(text), b"\x02x"), "number"),
        "D47 missing argument": (under(lambda f: f.pop(0), COLOUR + TAGS + MAYBE), "number"),
        "D48 no UTF-8": (ending(NUMBER, COLOUR, b"\x02\x02\xff\x00", MAYBE), ""),
        "D49 enum index -1": (ending(NUMBER, long(-1), TAGS, MAYBE), "enum index -1"),
        "D49 enum index 2": (ending(NUMBER, long(2), TAGS, MAYBE), "enum index 2"),
        "D49 union index -1": (ending(NUMBER, COLOUR, TAGS, long(-1)), "union index -1"),
        "D49 with zeros": (ending(NUMBER, COLOUR, TAGS, long(-1), bytes(20)), "union index -1"),
        "D50 more items than bytes": (ending(NUMBER, COLOUR, long(50_000_000)), "items in"),
        "D50 more text than bytes": (ending(NUMBER, COLOUR, b"\x02", long(2**40)), "a length of"),
        "D50 array of null": (
            under(retyped({"type": "array", "items": "null"}), long(50_000_000) + b"\x00"),
            "no bytes",
        ),
        "D51 recursive schema": (under(retyped(node), b"\x02" * 5_000 + b"\x00"), "itself"),
    }


def test_poison_reaches_the_dlq_as_it_came_and_blocks_nobody(make_scene: MakeScene) -> None:
    # Given poison between two good jobs on the one partition, keys and headers of all kinds
    scene = make_scene(SOURCE)
    send = scene.job("send")
    first = send.enqueue(number=1, colour="red", tags=[], maybe=None)
    cases = poison(Forger(scene))
    producer = Producer({"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]})
    keys = [None, b"", b"\xff\xfe", b"k" * 100_000]
    headers: list[tuple[str, str | bytes | None]] = [
        ("sj-attempt", b"-1"),
        ("sj-attempt", b"9" * 30),
        ("x", None),
    ]
    for n, (value, _) in enumerate(cases.values()):
        producer.produce(f"{scene.name}.mail", value, keys[n % len(keys)], headers=headers)
    assert producer.flush(10) == 0
    last = send.enqueue(number=3, colour="red", tags=[], maybe=None)

    # When a worker drains the queue
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors

    # Then one and the same process has run the good ones, and the partition has moved to its end
    pid = str(worker.process.pid)
    assert sorted(scene.journal) == sorted([["end", first.id, pid], ["end", last.id, pid]])
    assert scene.lag() == 0

    # And each poison is one dead letter with its bytes, its place and the reason
    dead = scene.records("mail.dlq")
    assert len(dead) == len(cases)
    by_place = {dict(x.headers)["sj-origin"]: x for x in dead}
    topic_id = next(iter(by_place)).split(b":")[0]  # type: ignore[union-attr]
    for n, (case, (value, why)) in enumerate(cases.items()):
        record = by_place[b"%b:0:%d" % (topic_id, first.offset + 1 + n)]
        assert (record.value, record.key) == (value, keys[n % len(keys)]), case
        told = dict(record.headers)
        assert (told["sj-reason"], told["sj-attempt"]) == (b"invalid", b"1"), case
        assert why in (told["sj-error-message"] or b"").decode(), case
        assert ("x", None) in record.headers, case

    # And people can list them
    listed = {x["offset"]: x for x in scene.dead()}
    assert [x["reason"] for x in listed.values()] == ["invalid"] * len(cases)
    for record in dead:
        raw = listed[record.offset].get("raw")
        assert raw is None or base64.b64decode(raw) == record.value
    assert worker.report()["dead"] == len(cases)
