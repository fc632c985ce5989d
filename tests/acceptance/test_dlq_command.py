"""``streamjobs dlq`` and ``status`` after a worker has run, and on hostile records."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from streamjobs.clock import monotonic
from streamjobs.kafka.config import producer_config
from streamjobs.settings import load_settings
from streamjobs.status import queue_status
from streamjobs.topics import QueueTopics

FIELDS = [
    "id",
    "job",
    "key",
    "args",
    "attempts",
    "reason",
    "error_type",
    "error_message",
    "failed_at",
    "origin",
    "partition",
    "offset",
]


def produce(shop: Any, topic: str, value: bytes | None, **extra: Any) -> None:
    settings = load_settings({}, bootstrap_servers=shop.bootstrap)
    producer = Producer(producer_config(settings))
    producer.produce(f"{shop.name}.{topic}", value, **extra)
    assert producer.flush(20) == 0


def test_dead_letters_of_every_kind(shop: Any) -> None:
    # given a job that succeeds, one that gives up, one that fails twice, and bytes that are no job
    for arguments in ('{"customer": 1}', '{"customer": 2, "template": "dead", "due": 1.5}'):
        shop.run("enqueue", "send_mail", "--args", arguments)
    failing = '{"customer": 3, "template": "fail"}'
    ref = shop.run("enqueue", "send_mail", "--args", failing, "--json").value()
    produce(shop, "mail", b"not a job", key=b"\xff", partition=0)
    # when a worker has run them all
    shop.run("worker", "-q", "mail", "--drain")
    # then every dead letter is listed, in the shape that scripts rely on
    lines = {
        line["reason"]: line for line in shop.run("dlq", "list", "-q", "mail", "--json").lines()
    }
    assert sorted(lines) == ["exhausted", "invalid", "rejected"]
    gone = lines["exhausted"]
    assert list(gone) == FIELDS
    assert (gone["id"], gone["job"], gone["key"]) == (ref["id"], "send_mail", "3")
    assert gone["args"] == {"customer": 3, "template": "fail", "due": None}
    assert (gone["attempts"], gone["error_type"], gone["error_message"]) == (
        2,
        "ValueError",
        "boom",
    )
    age = datetime.now(UTC) - datetime.fromisoformat(gone["failed_at"])
    assert timedelta(0) <= age < timedelta(minutes=2)
    assert gone["origin"].endswith(f":{ref['partition']}:{ref['offset']}")
    assert lines["rejected"]["args"]["due"] == "1.50"
    broken = lines["invalid"]
    assert (broken["args"], broken["job"], broken["key"]) == (None, None, None)
    assert base64.b64decode(broken["raw"]) == b"not a job"
    assert base64.b64decode(broken["raw_key"]) == b"\xff"
    # and each can be shown, the trace with it
    shown = shop.run("dlq", "show", "-q", "mail", "--id", ref["id"]).out
    assert "in send_mail" in shown
    assert "ValueError: boom" in shown
    place = f"{broken['partition']}:{broken['offset']}"
    assert shop.run("dlq", "show", "-q", "mail", "--id", place, "--json").value()["raw"]
    # and filtered
    only = shop.run("dlq", "list", "-q", "mail", "--reason", "rejected", "--json").lines()
    assert [line["reason"] for line in only] == ["rejected"]
    # and the status agrees
    status = shop.run("status", "-q", "mail", "--json").value()["queues"]["mail"]
    assert status == {
        "waiting": 0,
        "running": None,
        "retrying": {"1s": 0},
        "parked_keys": 0,
        "dead": 3,
        "members": 0,
    }


def test_what_is_not_there_exits_1(shop: Any) -> None:
    done = shop.run("dlq", "show", "-q", "mail", "--id", "nope", expect=1)
    assert "no dead letter nope" in done.err
    assert shop.run("dlq", "list", "-q", "mail", "--json").out == ""
    assert "0 dead letters" in shop.run("dlq", "list", "-q", "mail").out
    assert "it has: mail, slow" in shop.run("dlq", "list", "-q", "male", expect=2).err


def test_dead_letters_are_put_back_once(shop: Any) -> None:
    # given two that were rejected, and one that is no job
    rows = b'{"customer": 2, "template": "dead"}\n' * 2
    shop.run("enqueue", "send_mail", "--from", "-", "--format", "jsonl", stdin=rows)
    produce(shop, "mail", b"not a job", partition=1)
    shop.run("worker", "-q", "mail", "--drain")
    letters = shop.run("dlq", "list", "-q", "mail", "--json").lines()
    broken, (first, second) = letters[-1], [line["id"] for line in letters if line["id"]]
    assert broken["reason"] == "invalid"
    place = f"{broken['partition']}:{broken['offset']}"
    # when one is put back by its id, and another one's id is wrong
    done = shop.run("dlq", "requeue", "-q", "mail", "--id", first, "--id", "nope", expect=3)
    # then it says what came of each
    assert f"{first} put back into {shop.name}.mail[" in done.out
    assert "1 dead letter of queue mail put back" in done.out
    assert "Error: there is no dead letter nope: 'streamjobs dlq list' has" in done.err
    # and it is listed and counted no more, unless that is asked for
    left = shop.run("dlq", "list", "-q", "mail", "--json").lines()
    assert [line["id"] for line in left] == [second, None]
    every = shop.run("dlq", "list", "-q", "mail", "--all", "--json").lines()
    assert [line["id"] for line in every if line.get("requeued")] == [first]
    assert len(every) == 3
    show = ("dlq", "show", "-q", "mail", "--id", first)
    assert f"{first} was put back already: --all shows it" in shop.run(*show, expect=1).err
    assert "no such" in shop.run(*show, "--all").out
    status = shop.run("status", "-q", "mail", "--json").value()["queues"]["mail"]
    assert (status["dead"], status["waiting"] >= 1) == (2, True)
    # and a second time it is left alone, and what has no id has its place
    again = ("dlq", "requeue", "-q", "mail", "--json", "--id", first)
    line, already = shop.run(*again, "--id", place).lines()
    assert (already["name"], already["fate"]) == (first, "already-requeued")
    assert (line["fate"], line["id"], line["topic"]) == ("requeued", None, f"{shop.name}.mail")
    assert (line["partition"], line["offset"]) == (broken["partition"], broken["offset"])
    # and who asks for nothing that is there gets 1, for nothing at all 2
    nothing = shop.run("dlq", "requeue", "-q", "mail", "--id", "1:99", "--json", expect=1)
    assert nothing.value()["fate"] == "unknown"
    assert "which ones?" in shop.run("dlq", "requeue", "-q", "mail", expect=2).err


def test_hostile_dead_letters_reach_no_terminal(shop: Any) -> None:
    escape = b"\x1b]0;owned\x07\x1b[2J\r\n\xe2\x80\xae"
    headers = [(f"sj-{name}", escape) for name in ("error-type", "error-message", "error-trace")]
    headers += [("sj-id", escape), ("sj-attempt", b"-5"), ("sj-failed-at", b"soon")]
    produce(shop, "mail.dlq", escape, key=escape, headers=headers, partition=1)
    for arguments in (["list"], ["list", "--json"], ["show", "--id", "1:0"]):
        out = shop.run("dlq", arguments[0], "-q", "mail", *arguments[1:]).out
        assert out.isascii() or "\u202e" not in out
        assert not any(c in out for c in "\x1b\x07\r")
    (line,) = shop.run("dlq", "list", "-q", "mail", "--json").lines()
    assert line["key"].encode() == escape
    assert (line["attempts"], line["origin"]) == (0, None)
    assert json.dumps(line)


def test_the_list_is_complete(shop: Any) -> None:
    settings = load_settings({}, bootstrap_servers=shop.bootstrap)
    producer = Producer(producer_config(settings))
    for number in range(2500):
        producer.produce(f"{shop.name}.mail.dlq", b"%d" % number, key=b"%d" % number)
    assert producer.flush(20) == 0
    lines = shop.run("dlq", "list", "-q", "mail", "--json").lines()
    assert sorted(int(base64.b64decode(line["raw"])) for line in lines) == list(range(2500))
    assert "2,500 dead letters" in shop.run("dlq", "list", "-q", "mail").out


def test_status_counts_what_waits_and_what_is_parked(shop: Any) -> None:
    # given jobs of two keys parked for a minute, and one that nobody has looked at
    for customer in (1, 1, 2):
        shop.run("enqueue", "send_late", "--args", json.dumps({"customer": customer}))
    before = shop.run("status", "-q", "slow", "--json").value()["queues"]["slow"]
    assert (before["waiting"], before["retrying"], before["members"]) == (3, {"1m": 0}, 0)
    park(shop)
    shop.run("enqueue", "send_late", "--args", '{"customer": 3}')
    status = shop.run("status", "--json").value()["queues"]
    assert list(status) == ["mail", "slow"]
    slow = status["slow"]
    assert (slow["waiting"], slow["retrying"], slow["parked_keys"]) == (1, {"1m": 3}, 2)
    table = shop.run("status").out
    assert "1m: 3" in table


def park(shop: Any) -> None:
    """Run a worker until every job of queue slow has failed once, then stop it."""
    settings = load_settings({}, bootstrap_servers=shop.bootstrap)
    deadline = monotonic() + 60
    with shop.start("worker", "-q", "slow") as worker:
        while queue_status(settings, QueueTopics(shop.name, "slow")).retrying != {"1m": 3}:
            assert monotonic() < deadline
            assert worker.poll() is None
