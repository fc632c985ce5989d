"""What every command owes its user: no broker, Ctrl-C, a closed pipe, and the embedded broker."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from streamjobs.clock import monotonic
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.registry import Registry
from streamjobs.retry import Retry
from streamjobs.settings import load_settings


def test_no_broker_is_one_line_within_15_seconds(make_shop: Callable[[str], Any]) -> None:
    # given nobody at the address
    shop = make_shop("127.0.0.1:1")
    commands = [
        ["status"],
        ["topics", "apply"],
        ["dlq", "list", "-q", "mail"],
        ["enqueue", "send_mail", "--args", '{"customer": 1}'],
    ]
    # when commands are run, all at once
    began = monotonic()
    running = [shop.popen(*command) for command in commands]
    for process in running:
        out, err = process.communicate(timeout=30)
        # then each ends in time, with one clear line
        assert monotonic() - began < 15
        assert (process.returncode, out) == (1, b"")
        (line,) = err.decode().splitlines()
        assert "no Kafka broker answers at 127.0.0.1:1" in line


@pytest.mark.only_protocol("classic", why="some of them belong to classic groups")
def test_every_wrong_setting_is_told_at_once(make_shop: Callable[[str], Any]) -> None:
    # given wrong types, names that do not exist, and pairs that cannot be
    shop = make_shop("not an address")
    shop.more = {
        "STREAMJOBS_DELIVERY": "sometimes",
        "STREAMJOBS_BOOTSRAP_SERVERS": "localhost:9092",
        "STREAMJOBS_KAFKA_ACKS": "0",
        "STREAMJOBS_KAFKA_LINGER_MS": "soon",
        "STREAMJOBS_KAFKA_LINGERR_MS": "5",
        "STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS": "300000",
        "STREAMJOBS_KAFKA_MAX_POLL_INTERVAL_MS": "300000",
        "STREAMJOBS_KAFKA_ENABLE_AUTO_OFFSET_STORE": "true",
    }
    for command in (["status"], ["worker"]):
        # when a command is run
        err = shop.run(*command, expect=2).err
        # then all are told at once, each by its name and with the remedy
        assert "8 problems" in err
        for part in (
            "not an address",
            "STREAMJOBS_DELIVERY: Input should be 'transactional' or 'idempotent'",
            "did you mean STREAMJOBS_BOOTSTRAP_SERVERS?",
            "acks=0: must be all",
            "linger.ms",
            "lingerr.ms",
            "session.timeout.ms=300000 must be below max.poll.interval.ms=300000",
            "enable.auto.offset.store=true: must be false",
        ):
            assert part in err, part


def test_a_retry_longer_than_retention_is_refused_with_its_line(
    make_shop: Callable[[str], Any],
) -> None:
    shop = make_shop("127.0.0.1:1")
    shop.write(
        "shop.py",
        b"from streamjobs import App, Retry\n"
        b"app = App('shop')\n"
        b"app.queue('mail', retention='1h', retry=Retry(delays=('1m', '2h')))\n",
    )

    err = shop.run("worker", expect=2).err

    assert "shop.py, line 3" in err
    assert "queue 'mail': a retry waits 2h, and jobs are kept for 1h" in err


def test_an_interrupted_pipeline_ends_at_once_and_keeps_what_was_sent(shop: Any) -> None:
    # given rows that arrive through a pipe that stays open
    process = shop.popen("enqueue", "send_mail", "--from", "-", "--format", "jsonl")
    process.stdin.write(b'{"customer": 1}\n' * 100)
    process.stdin.flush()
    deadline = monotonic() + 30
    while end_of_main(shop) < 100:
        assert monotonic() < deadline
        assert process.poll() is None
    # when it is interrupted
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    # then it says how far it came, and nothing else
    told = b"Interrupted at item 100; sent before it: 100\n"
    assert (process.returncode, out, err) == (130, b"", told)
    assert end_of_main(shop) == 100


def test_a_reader_that_has_enough_is_no_error_to_tell(shop: Any) -> None:
    lines = b"".join(b'{"customer": %d, "template": "dead"}\n' % n for n in range(2000))
    shop.run("enqueue", "send_mail", "--from", "-", "--format", "jsonl", stdin=lines)
    shop.run("worker", "-q", "mail", "--drain")
    with shop.popen("dlq", "list", "-q", "mail", "--json") as process:
        assert process.stdout.readline().startswith(b'{"id"')
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_whole_way_on_the_embedded_broker(
    make_shop: Callable[[str], Any], app_name: str
) -> None:
    # given an embedded broker that was started with the app's topics
    registry = Registry(app_name)
    registry.add_queue("mail", partitions=2, retry=Retry(("1s",)))
    registry.add_queue("slow", partitions=1, retry=Retry(("1m",)))
    with start_broker("embedded", topics=registry.topic_specs(app_name)) as broker:
        shop = make_shop(broker.bootstrap)
        shop.more = {"STREAMJOBS_DELIVERY": "idempotent"}
        if shop.protocol == "classic":
            shop.more["STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS"] = "2000"
        rows = shop.run("topics", "list", "--json").lines()
        assert all(row["exists"] and row["topic_id"] is None for row in rows)
        # when jobs are enqueued and run
        shop.write("m.csv", b"customer,template\n1,ok\n2,dead\n3,fail\n")
        shop.run("enqueue", "send_mail", "--from", "m.csv")
        waiting = shop.run("status", "-q", "mail", "--json").value()["queues"]["mail"]
        assert (waiting["waiting"], waiting["members"]) == (3, None)
        shop.run("worker", "-q", "mail", "--drain")
        # then the dead ones are listed
        letters = shop.run("dlq", "list", "-q", "mail", "--json").lines()
        assert sorted(letter["reason"] for letter in letters) == ["exhausted", "rejected"]


def test_the_app_is_named_by_option_or_environment(
    make_shop: Callable[[str], Any], kafka_broker: Broker
) -> None:
    shop = make_shop(kafka_broker.bootstrap)
    assert "-A module:app" in shop.bare("status", expect=2).err
    shop.more = {"STREAMJOBS_APP": "shop"}
    shop.bare("topics", "list")


def end_of_main(shop: Any) -> int:
    settings = load_settings({}, bootstrap_servers=shop.bootstrap)
    with Admin(settings) as admin:
        logs = admin.watermarks([(f"{shop.name}.mail", p) for p in (0, 1)])
    return sum(log.end for log in logs.values())
