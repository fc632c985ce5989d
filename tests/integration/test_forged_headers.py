"""Headers that nobody but a forger writes: clamped, or into the DLQ, and the other jobs go on."""

from __future__ import annotations

import json
from collections.abc import Sequence

from confluent_kafka import Producer
from integration.scene import MakeScene, Scene, eventually

from streamjobs.headers import MAX_COUNT
from streamjobs.kafka.admin import Admin

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("200ms", "400ms")))

@app.job(queue="mail", key="name")
def send(ctx: Context, name: str, fails: bool = False) -> None:
    note("run", name, ctx.attempt)
    if fails:
        raise ValueError("always")
"""
Headers = list[tuple[str, bytes | None]]
OTHERS = 20
# No job's place, and as large as a place can be.
FAR, FARTHEST = 1_000_000, 2**63 - 1
CROWD: Headers = [("x", b"")] * 10_000


def clamped(place: bytes) -> dict[str, tuple[Headers, int]]:
    """Headers of jobs that run all the same: with which attempt."""
    origin = ("sj-origin", place)
    return {
        "attempt -1": ([origin, ("sj-attempt", b"-1")], 2),
        "attempt 2^63": ([origin, ("sj-attempt", b"9223372036854775808")], MAX_COUNT + 1),
        "attempt of 1,000 digits": ([origin, ("sj-attempt", b"9" * 1_000)], 2),
        "attempt null": ([origin, ("sj-attempt", None)], 2),
        "rung -1": ([origin, ("sj-attempt", b"3"), ("sj-rung", b"-1")], 4),
        "rung 2^63": ([origin, ("sj-rung", b"9223372036854775808")], 2),
        "crashes 2^63": ([origin, ("sj-crashes", b"9223372036854775808")], 2),
        "crashes -1": ([origin, ("sj-crashes", b"-1")], 2),
        "waiting, attempt -1": ([origin, ("sj-reason", b"waiting"), ("sj-attempt", b"-1")], 1),
        "doubled": ([origin, ("sj-attempt", b"4"), ("sj-attempt", b"9"), (origin[0], b"x")], 5),
        "10,000 behind": ([origin, ("sj-attempt", b"4"), *CROWD], 5),
        "due in year 9999": ([origin, ("sj-due", b"253402300799000")], 2),
        "no UTF-8": ([origin, ("sj-reason", b"\xff\xfe"), ("sj-worker", b"\xff")], 2),
        "topic of old": ([("sj-origin", b"Z:0:%d" % FARTHEST)], 2),
    }


def refused(topic: bytes) -> dict[str, Headers]:
    """Headers of what is no record of this tier: it has no place in its key's order."""
    origins = {
        "other partition": b"%b:1:0" % topic,
        "no such partition": b"%b:%d:0" % (topic, FARTHEST),
        "past the end": b"%b:0:%d" % (topic, FAR),
        "far past the end": b"%b:0:%d" % (topic, FARTHEST),
        "offset 2^63": b"%b:0:%d" % (topic, 2**63),
        "offset -1": b"%b:0:-1" % topic,
        "no numbers": b"%b:a:b" % topic,
        "no origin at all": b":" * 10_000,
        "origin empty": b"",
    }
    cases: dict[str, Headers] = {name: [("sj-origin", o)] for name, o in origins.items()}
    valid = b"%b:0:0" % topic
    return {
        **cases,
        "no headers": [],
        "origin null": [("sj-origin", None)],
        "origin behind 10,000": [*CROWD, ("sj-origin", valid)],
        "doubled, the first wrong": [("sj-origin", b"x"), ("sj-origin", valid)],
    }


class Forger:
    """Puts records of the job ``send`` where only workers write."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        where = scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]
        self._producer = Producer({"bootstrap.servers": where})

    def write(self, topic: str, name: str, headers: Sequence[tuple[str, bytes | None]]) -> None:
        outgoing = self._scene.app.client.outgoing(
            self._scene.job("send").call(name=name, fails=name == "rung 2^63")
        )
        self._producer.produce(
            f"{self._scene.name}.{topic}",
            outgoing.value,
            outgoing.key,
            partition=0,
            headers=list(headers),
        )

    def done(self) -> None:
        assert self._producer.flush(10) == 0


def test_each_is_clamped_or_refused_and_no_other_job_notices(make_scene: MakeScene) -> None:
    # Given a worker with jobs of its own, which have run
    scene = make_scene(SOURCE)
    send = scene.job("send")
    worker = scene.worker()
    scene.app.enqueue_many(send.call(name=f"before{n}") for n in range(OTHERS))
    eventually(lambda: len(scene.noted("run")) == OTHERS, "the first jobs have run")

    # When somebody writes into a tier, into main and into the DLQ, with jobs in between
    main = f"{scene.name}.mail"
    with Admin(scene.app.settings) as admin:
        topic = admin.topics([main])[main].topic_id.encode()
    runs, dead = clamped(b"%b:0:0" % topic), refused(topic)
    forger = Forger(scene)
    for name, (headers, _) in runs.items():
        forger.write("mail.retry.200ms", name, headers)
    for name, headers in dead.items():
        forger.write("mail.retry.400ms", name, headers)
    lies: Headers = [("sj-attempt", b"99"), ("sj-rung", b"99"), ("sj-origin", b"x"), *CROWD]
    forger.write("mail", "lies", lies)
    forger.write("mail.dlq", "dead already", [*lies, ("sj-failed-at", b"9" * 19)])
    forger.done()
    scene.app.enqueue_many(send.call(name=f"after{n}") for n in range(OTHERS))
    for name in ("attempt -1", "past the end"):
        send.enqueue(name=name)  # keys that the forger has used

    # Then what can be clamped has run, once, main's headers do not count, and all others have run
    others = [f"{when}{n}" for when in ("before", "after") for n in range(OTHERS)]
    expected = [(name, attempt) for name, (_, attempt) in runs.items()]
    expected += [(name, 1) for name in (*others, "lies", "attempt -1", "past the end")]
    eventually(lambda: len(scene.journal) >= len(expected), "all have run")
    ran = [(" ".join(words[1:-1]), int(words[-1])) for words in scene.journal]
    assert sorted(ran) == sorted(expected)

    # And the rest is dead: its place cannot be, or its ladder is used up by a rung of 2^63
    wanted = dict.fromkeys(dead, "invalid") | {"rung 2^63": "exhausted"}
    eventually(lambda: len(scene.records("mail.dlq")) == len(wanted) + 1, "the rest is dead")
    letters = {letter["key"]: letter for letter in scene.dead()}
    assert letters.pop("dead already")["origin"] is None
    assert {name: letter["reason"] for name, letter in letters.items()} == wanted
    assert "past the end of main" in letters["past the end"]["error_message"]
    assert "no origin in this partition" in letters["other partition"]["error_message"]

    # And the worker, still the first one, stops in good order with nothing left
    assert worker.stop() == 0, worker.errors
    assert "Traceback" not in worker.errors
    assert scene.lag() == 0
    status = json.loads(scene.command("status", "--json").stdout)["queues"]["mail"]
    assert (status["waiting"], status["parked_keys"]) == (0, 0)
