"""Dead letters put back, each exactly once: whatever dies, whoever else does the same."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

from confluent_kafka import Producer
from integration.scene import MakeScene, Scene, eventually

from streamjobs.client import JobRef

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)), priorities=("high", "low"))

@app.job(queue="mail", key="number")
def send(ctx: Context, number: int) -> None:
    note("start", ctx.job_id, ctx.attempt)
    if not os.path.exists("mended"):
        raise ValueError("broken")
    note("end", ctx.job_id)

def at(step, do):  # the steps of putting one back: take_over, (begin,) _produce, _commit
    from streamjobs.kafka.sole import SoleProducer

    when, name = step.split()
    method = getattr(SoleProducer, name)

    def instead(self, *records):
        if when == "before":
            do()
        if when == "half":
            method(self, records[0][:1])
            do()
        if when == "during":
            try:
                self._producer.commit_transaction(0.0001)
            finally:
                do()
        method(self, *records)
        do()

    setattr(SoleProducer, name, instead)

def wait():
    note("waits", os.getpid())
    wait_for("go")

if "DIE_AT" in os.environ:
    at(os.environ["DIE_AT"], lambda: os.kill(os.getpid(), signal.SIGKILL))
if "WAIT_AT" in os.environ:
    at(os.environ["WAIT_AT"], wait)
"""
STEPS = [
    "after take_over",
    "half _produce",
    "after _produce",
    "during _commit",
    "after _commit",
]


def dead_jobs(scene: Scene, count: int) -> list[JobRef]:
    """Enqueue jobs and have a worker give them up."""
    refs = [scene.job("send").enqueue(number=n) for n in range(count)]
    run_all(scene)
    return refs


def run_all(scene: Scene) -> None:
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors


def requeue(scene: Scene, *names: str, expect: int = 0) -> dict[str, str]:
    """Run the command; return the fate of each name."""
    ids = [word for name in names for word in ("--id", name)]
    done = scene.command("dlq", "requeue", "-q", "mail", "--json", *ids)
    assert done.returncode == expect, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line["fate"] for line in lines}


def put_back(scene: Scene, topic: str = "mail.low") -> Counter[bytes]:
    """How often each dead letter's place is told by a record of a main topic."""
    headers = [dict(record.headers) for record in scene.records(topic)]
    return Counter(h["sj-requeued-from"] or b"" for h in headers if "sj-requeued-from" in h)


def test_killed_at_any_step_and_repeated_it_puts_each_back_once(make_scene: MakeScene) -> None:
    # Given a dead letter for each step of putting one back
    scene = make_scene(SOURCE)
    refs = dead_jobs(scene, len(STEPS))
    ids = [ref.id for ref in refs]

    # When the command is killed at that step
    for step, job_id in zip(STEPS, ids, strict=True):
        scene.environment["DIE_AT"] = step
        assert requeue(scene, job_id, expect=-9) == {}
    del scene.environment["DIE_AT"]

    # Then repeating it puts back what is not back yet, and again nothing
    fates = requeue(scene, *ids)
    assert fates.pop(ids[STEPS.index("during _commit")]) in {"requeued", "already-requeued"}
    assert [fates[job_id] for job_id in ids[:3]] == ["requeued"] * 3
    assert fates[ids[-1]] == "already-requeued"
    assert set(requeue(scene, *ids).values()) == {"already-requeued"}
    assert list(put_back(scene).values()) == [1] * len(ids)

    # And each runs once more, from its first attempt on
    scene.signal("mended")
    run_all(scene)
    assert scene.noted("end") == Counter(ids)
    attempts = Counter(words[2] for words in scene.journal if words[0] == "start")
    assert attempts == {"1": 2 * len(ids), "2": len(ids)}
    assert scene.dead() == []


def test_of_several_at_a_time_the_last_goes_on(make_scene: MakeScene) -> None:
    # Given one that has found what to put back, and one that is about to look
    scene = make_scene(SOURCE)
    ids = [ref.id for ref in dead_jobs(scene, 2)]
    words = ["dlq", "requeue", "-q", "mail", "--id", ids[0], "--id", ids[1]]
    early, late = (waiting(scene, step, *words) for step in ("before _produce", "before take_over"))
    eventually(lambda: len(scene.noted("waits")) == 2, "both stand there")

    # When another puts the same back, and the two go on
    assert requeue(scene, *ids) == dict.fromkeys(ids, "requeued")
    scene.signal("go")

    # Then the first ends and says why, and the second finds nothing left to do
    _, errors = early.communicate(timeout=60)
    assert early.returncode == 1, errors
    assert "another requeue of queue 'mail' has begun" in errors
    assert "run this again" in errors
    out, errors = late.communicate(timeout=60)
    assert late.returncode == 0, errors
    assert sorted(out.splitlines()[:2]) == sorted(f"{x} was put back already" for x in ids)
    assert list(put_back(scene).values()) == [1, 1]


def waiting(scene: Scene, step: str, *words: str) -> subprocess.Popen[str]:
    """Begin a command that stands still at a step until it is told to go."""
    scene.environment["WAIT_AT"] = step
    process = scene.process(*words)
    del scene.environment["WAIT_AT"]
    return process


def test_back_where_it_came_from_as_it_was(make_scene: MakeScene) -> None:
    # Given dead letters of two priorities, of another producer with headers, and bytes that are no
    # job
    scene = make_scene(SOURCE)
    send = scene.job("send")
    high = send.options(priority="high").enqueue(number=1)
    low = send.options(priority="low").enqueue(number=1)
    outgoing = scene.app.client.outgoing(send.call(number=2))
    producer = Producer({"bootstrap.servers": scene.environment["STREAMJOBS_BOOTSTRAP_SERVERS"]})
    foreign: list[Any] = [("trace", b"\xff"), ("trace", None)]
    main = f"{scene.name}.mail.high"
    producer.produce(main, outgoing.value, b"\xfe", partition=1, headers=foreign)
    producer.produce(main, b"no job", None, partition=1)
    assert producer.flush(10) == 0
    run_all(scene)
    dead = {record.value: record for record in scene.records("mail.dlq")}
    listed = {f"{x['partition']}:{x['offset']}": x for x in scene.dead()}
    assert len(listed) == len(dead) == 4

    # When all are put back by their places
    fates = requeue(scene, *listed)
    assert set(fates.values()) == {"requeued"}

    # Then each is in the topic, and the partition, it came from, with its bytes and its headers
    mains = {"high": scene.records("mail.high"), "low": scene.records("mail.low")}
    back = {
        record.value: (priority, record)
        for priority, records in mains.items()
        for record in records
        if "sj-requeued-from" in dict(record.headers)
    }
    assert back.keys() == dead.keys()
    assert Counter(priority for priority, _ in back.values()) == {"high": 3, "low": 1}
    for value, (_, record) in back.items():
        letter = dead[value]
        assert (record.key, record.partition) == (letter.key, letter.partition)
        kept = [header for header in letter.headers if not header[0].startswith("sj-")]
        assert [header for header in record.headers if header[0] != "sj-requeued-from"] == kept
        told = (dict(record.headers)["sj-requeued-from"] or b"").split(b":", 1)[1]
        assert told == b"%d:%d" % (letter.partition, letter.offset)
    assert list(back[outgoing.value][1].headers)[1:] == foreign

    # And when they have died again, those that came last are put back by their ids
    run_all(scene)
    assert sorted(scene.noted("start").values()) == [4, 4, 4]
    assert requeue(scene, high.id, low.id) == dict.fromkeys([high.id, low.id], "requeued")
    scene.signal("mended")
    run_all(scene)
    assert scene.noted("end") == Counter([high.id, low.id])
    assert {x["id"] for x in scene.dead()} == {None, dead_id(listed, outgoing.value, dead)}


def dead_id(listed: dict[str, Any], value: bytes, dead: dict[bytes | None, Any]) -> str:
    record = dead[value]
    found: str = listed[f"{record.partition}:{record.offset}"]["id"]
    return found
