"""The client against a log: what was enqueued is there, what is not there was refused aloud."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import fastavro
import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import Field

from streamjobs import (
    App,
    BrokerUnavailable,
    Context,
    EnqueueError,
    InvalidArguments,
    SettingsError,
    TopicsError,
    client,
)
from streamjobs.errors import JobTooLarge
from streamjobs.handle import Job
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, start_broker
from streamjobs.kafka.config import consumer_config
from streamjobs.kafka.failures import list_topics, require_broker
from streamjobs.kafka.reader import Record, read
from streamjobs.settings import load_settings

# Keys and their murmur2 as Kafka's own tests have them (UtilsTest.testMurmur2).
JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
PARTITIONS = 4


def shop(
    broker: Broker, name: str, *, topics: bool = True, kafka: dict[str, Any] | None = None
) -> App:
    """An app with a queue ``mail``, its topics made."""
    app = App(name, bootstrap_servers=broker.bootstrap, kafka=kafka)
    app.queue("mail", partitions=PARTITIONS)
    if topics:
        broker.create_topics(app.registry.topic_specs(name))
    return app


def greeter(app: App) -> Job[..., None]:
    @app.job(queue="mail", key="customer")
    def greet(ctx: Context, customer: str, number: int = 0) -> None: ...

    return greet


@pytest.fixture
def app(any_broker: Broker, app_name: str) -> Iterator[App]:
    with shop(any_broker, app_name) as made:
        yield made


def records(app: App, topic: str | None = None, partitions: int = PARTITIONS) -> list[Record]:
    topic = topic or f"{app.name}.mail"
    with Admin(app.settings) as admin:
        logs = admin.watermarks([(topic, p) for p in range(partitions)])
    return list(read(app.settings, {p: (log.start, log.end) for p, log in logs.items()}))


def test_a_ref_says_where_the_job_lies(app: App) -> None:
    greet = greeter(app)

    ref = greet.enqueue(customer="foobar", number=7)

    [record] = records(app)
    assert (ref.topic, ref.partition, ref.offset) == (f"{app.name}.mail", record.partition, 0)
    assert record.key == b"foobar"
    assert str(UUID(ref.id)) == ref.id
    assert ref.id.encode() in (record.value or b"")
    assert record.headers == ()


def test_a_record_can_be_read_with_nothing_but_fastavro_and_the_schema_topic(app: App) -> None:
    # given a job with types of every kind, enqueued
    @app.job(queue="mail", key="customer_id")
    def charge(
        customer_id: int,
        amount: Annotated[Decimal, Field(max_digits=9, decimal_places=2)],
        tags: list[str],
        note: str | None = None,
    ) -> None: ...

    before = time.time()
    ref = charge.enqueue(7, Decimal("12.30"), tags=["a", "b"])

    # when a plain consumer and fastavro read it
    def fetch(topic: str, partition: int, offset: int) -> Any:
        consumer = Consumer(
            {"bootstrap.servers": app.settings.bootstrap_servers, "group.id": "anybody"}
        )
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(20)
        consumer.close()
        assert message is not None
        assert message.error() is None
        return message

    value = fetch(ref.topic, ref.partition, ref.offset).value()
    schema_record = fetch(f"{app.name}.schemas", 0, 0)
    assert value[:2] == b"\xc3\x01"
    assert schema_record.key().decode() == value[2:10].hex()
    schema = json.loads(schema_record.value())
    body = io.BytesIO(value[10:])
    job: Any = fastavro.schemaless_reader(body, schema, None)

    # then the job is all there, in real columns, and nothing is left over
    assert body.read() == b""
    assert job["id"] == UUID(ref.id)
    assert job["job"] == "charge"
    assert before - 1 <= job["enqueued_at"].timestamp() <= time.time() + 1
    assert job["options"] is None
    assert job["args"] == {
        "customer_id": 7,
        "amount": Decimal("12.30"),
        "tags": ["a", "b"],
        "note": None,
    }
    assert schema["name"] == "charge"
    assert schema["namespace"] == app.name.replace("-", "_")


def test_keys_land_where_java_producers_put_them(app: App) -> None:
    greet = greeter(app)

    landed = {key: greet.enqueue(key).partition for key in JAVA_MURMUR2}

    assert landed == {key: (h & 0x7FFFFFFF) % PARTITIONS for key, h in JAVA_MURMUR2.items()}


def test_options_set_key_and_id(app: App) -> None:
    greet = greeter(app)
    wanted = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")

    ref = greet.options(id=wanted, key=21).enqueue("somebody")
    greet.options(key=None).enqueue("somebody")

    assert ref.id == str(wanted)
    assert {r.key for r in records(app)} == {b"21", None}


def test_a_thousand_jobs_awaited_at_once(app: App) -> None:
    greet = greeter(app)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(
            *(greet.enqueue_async(customer=str(n % 7), number=n) for n in range(1000))
        )

    refs = asyncio.run(all_of_them())

    places = {(ref.partition, ref.offset) for ref in refs}
    assert len(places) == len(records(app)) == 1000


def test_fifty_thousand_jobs_in_the_order_of_their_keys(app: App) -> None:
    # given and when
    greet = greeter(app)
    summary = app.enqueue_many(greet.call(customer=str(n % 1000), number=n) for n in range(50_000))

    # then all are there, each key's in order, each with an id of its own
    assert summary.sent == 50_000
    assert summary.rejected == 0
    assert summary.per_second == summary.sent / summary.seconds
    schema = fastavro.parse_schema(json.loads(greet.encoder.schema))
    numbers, ids = defaultdict(list), set()
    for record in records(app):
        job: Any = fastavro.schemaless_reader(io.BytesIO((record.value or b"")[10:]), schema, None)
        numbers[record.key].append(job["args"]["number"])
        ids.add(job["id"])
    assert len(ids) == 50_000
    assert len(numbers) == 1000
    assert all(found == sorted(found) for found in numbers.values())


def test_a_queue_of_ten_holds_back_and_loses_nothing(any_broker: Broker, app_name: str) -> None:
    kafka = {"queue.buffering.max.messages": 10}
    with shop(any_broker, app_name, kafka=kafka) as app:
        greet = greeter(app)

        summary = app.enqueue_many(greet.call("one key", n) for n in range(500))

        assert summary.sent == len(records(app)) == 500
        schema = fastavro.parse_schema(json.loads(greet.encoder.schema))
        jobs: list[Any] = [
            fastavro.schemaless_reader(io.BytesIO((r.value or b"")[10:]), schema, None)
            for r in records(app)
        ]
        assert [job["args"]["number"] for job in jobs] == list(range(500))


def test_single_jobs_wait_for_room_in_a_queue_of_ten(any_broker: Broker, app_name: str) -> None:
    # given a queue that more callers fill at once than it has room for
    kafka = {"queue.buffering.max.messages": 10, "linger.ms": 20}
    with shop(any_broker, app_name, kafka=kafka) as app:
        greet = greeter(app)

        async def awaited() -> list[Any]:
            return await asyncio.gather(*(greet.enqueue_async("a", n) for n in range(100)))

        # when they enqueue
        refs = asyncio.run(awaited())
        with ThreadPoolExecutor(40) as pool:
            refs += pool.map(greet.enqueue, ["b"] * 100)

        # then each waited, and each one's job is where it was told
        places = {(r.partition, r.offset) for r in records(app)}
        assert {(ref.partition, ref.offset) for ref in refs} == places
        assert len(places) == 200


def test_a_bad_item_is_named_and_the_earlier_ones_stay(app: App) -> None:
    greet = greeter(app)
    bad: Any = "no number"

    with pytest.raises(InvalidArguments, match="number") as caught:
        app.enqueue_many(greet.call("c", n if n < 20 else bad) for n in range(30))

    assert (caught.value.index, caught.value.sent) == (20, 20)
    assert len(records(app)) == 20


@pytest.mark.parametrize("end", [OSError, KeyboardInterrupt])
def test_an_iterable_that_fails_leaves_what_was_sent(app: App, end: type[BaseException]) -> None:
    greet = greeter(app)

    def calls() -> Iterator[client.Call]:
        yield greet.call("a")
        raise end

    with pytest.raises(end) as caught:
        app.enqueue_many(calls())

    assert caught.value.__notes__ == ["at item 1; sent before it: 1"]
    assert len(records(app)) == 1


def test_what_is_no_call_is_refused(app: App) -> None:
    wrong: Any = ["greet"]

    with pytest.raises(TypeError, match=r"write job\.call\(\.\.\.\)"):
        app.enqueue_many(wrong)


def test_rows_are_typed_by_the_hints_and_rejects_handed_over(app: App) -> None:
    greet = greeter(app)
    wrong: Any = ["not", "a", "row"]
    rows = [
        {"customer": "a", "number": "1"},
        {"customer": "b", "number": "many"},
        wrong,
        {"customer": "x" * 2_000_000},
        {"customer": "c", "number": "2"},
    ]
    rejects = []

    summary = app.enqueue_rows(
        greet, rows, on_reject=lambda index, _row, error: rejects.append((index, error))
    )

    assert (summary.sent, summary.rejected) == (2, 3)
    assert {r.key for r in records(app)} == {b"a", b"c"}
    assert [index for index, _ in rejects] == [1, 2, 3]
    assert "number" in str(rejects[0][1])
    assert "list" in str(rejects[1][1])
    assert "bytes as a record" in str(rejects[2][1])


def test_a_bad_row_ends_the_run_where_nobody_takes_rejects(app: App) -> None:
    greet = greeter(app)

    with pytest.raises(InvalidArguments) as caught:
        app.enqueue_rows(greet, [{"customer": "a"}, {"customer": "a", "number": "x"}])

    assert (caught.value.index, caught.value.sent) == (1, 1)


def test_a_job_that_is_too_large_is_refused_before_it_is_sent(app: App) -> None:
    greet = greeter(app)
    room = 1_048_588 - client.RECORD_OVERHEAD - len(greet.encoder.schema)

    with pytest.raises(JobTooLarge, match=r"1,100,\d\d\d bytes .* at most 1,048,588") as caught:
        greet.options(key="k").enqueue("x" * 1_100_000)
    greet.options(key="k").enqueue("x" * room)

    assert not caught.value.retriable
    assert len(records(app)) == 1


def test_a_missing_topic_names_the_mending_command(any_broker: Broker, app_name: str) -> None:
    with shop(any_broker, app_name, topics=False) as app:
        greet = greeter(app)

        with pytest.raises(TopicsError, match="streamjobs -A module:app topics apply"):
            greet.enqueue("a")
        # and asking did not make it
        with Admin(app.settings) as admin:
            assert f"{app_name}.mail" not in admin.topics(None)
        # and it is found as soon as it is there
        any_broker.create_topics(app.registry.topic_specs(app_name))
        assert greet.enqueue("a").offset == 0


def test_nothing_is_taken_after_close(app: App) -> None:
    greet = greeter(app)
    greet.enqueue("a")

    app.close()
    app.close()

    with pytest.raises(EnqueueError, match=r"closed: nothing can be enqueued after close\(\)"):
        greet.enqueue("a")


def test_a_broker_that_goes_away_is_reported_in_bounded_time(app_name: str) -> None:
    # given a client that has enqueued, and whose broker is gone
    with start_broker("embedded") as broker:
        app = shop(broker, app_name, kafka={"delivery.timeout.ms": 4000})
        greet = greeter(app)
        greet.enqueue("a")
        app.enqueue_many([greet.call("a")])
    began = time.monotonic()

    # when it enqueues
    with pytest.raises(EnqueueError) as one:
        greet.enqueue("b")
    with pytest.raises(EnqueueError, match=r"3 of 3 jobs not acknowledged, 0 in the log") as many:
        app.enqueue_many(greet.call("b") for _ in range(3))
    with pytest.raises(EnqueueError) as awaited:
        asyncio.run(greet.enqueue_async("b"))

    # then each says so, soon
    assert one.value.retriable
    assert many.value.retriable
    assert awaited.value.retriable
    # and of one job, by which id it can be enqueued again
    for single in (one.value, awaited.value):
        assert single.job_id is not None
        assert f".options(id={single.job_id!r})" in str(single)
    assert one.value.job_id != awaited.value.job_id
    assert time.monotonic() - began < 40
    app.close()


def test_a_broker_that_is_there_is_found_at_once(any_broker: Broker) -> None:
    began = time.monotonic()

    require_broker(load_settings({}, bootstrap_servers=any_broker.bootstrap))

    assert time.monotonic() - began < 10


def test_a_broker_that_is_not_there_is_given_up_in_time() -> None:
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable) as caught:
        require_broker(load_settings({}, bootstrap_servers="127.0.0.1:1"), timeout=1.0)

    assert str(caught.value) == (
        "no Kafka broker answers at 127.0.0.1:1 within 1 s: start one (streamjobs broker) or set "
        "STREAMJOBS_BOOTSTRAP_SERVERS"
    )
    assert time.monotonic() - began < 14


def test_properties_that_cannot_be_are_told_before_anything_is_sent() -> None:
    app = App("shop", bootstrap_servers="127.0.0.1:1", kafka={"no.such.property": 1})
    app.queue("mail")

    with pytest.raises(SettingsError, match=r"no\.such\.property"):
        greeter(app).enqueue("a")


def test_many_threads_enqueue_at_once(app: App) -> None:
    greet = greeter(app)

    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(lambda n: greet.enqueue(str(n % 5), n), range(400)))

    assert len({(ref.partition, ref.offset) for ref in refs}) == len(records(app)) == 400


def test_no_broker_at_all_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "list_topics", partial(list_topics, timeout=1.0))
    app = App("shop", bootstrap_servers="127.0.0.1:1")
    app.queue("mail")

    with pytest.raises(EnqueueError, match=r"no Kafka broker answers at 127\.0\.0\.1:1") as caught:
        greeter(app).enqueue("a")

    assert caught.value.retriable
    assert "\n" not in str(caught.value)


SCRIPT_HEAD = """
import asyncio, os, sys
from streamjobs import App, Context
app = App(sys.argv[1], bootstrap_servers=sys.argv[2], kafka={"linger.ms": 300})
app.queue("mail", partitions=4)
@app.job(queue="mail", key="customer")
def greet(ctx: Context, customer: str, number: int = 0) -> None: ...
"""

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(any_broker: Broker, app_name: str) -> Run:
    def run_script(body: str) -> subprocess.CompletedProcess[str]:
        # Newer Pythons warn about any fork beside threads, which is what these tests are about.
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT_HEAD + body, app_name,
             any_broker.bootstrap],
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run_script


def test_a_child_process_enqueues_after_a_fork(app: App, run: Run) -> None:
    done = run("""
greet.enqueue("before")
app.enqueue_many([greet.call("before")])
child = os.fork()
if child == 0:
    greet.enqueue("in the child")
    app.enqueue_many([greet.call("in the child")])
    sys.exit(7)   # runs what is registered for the exit
greet.enqueue("in the parent")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")

    assert (done.stdout, done.stderr, done.returncode) == ("7\n", "", 0)
    keys = sorted((r.key or b"").decode() for r in records(app))
    assert keys == ["before"] * 2 + ["in the child"] * 2 + ["in the parent"]


def test_a_child_that_enqueues_nothing_leaves_at_once(app: App, run: Run) -> None:
    done = run("""
greet.enqueue("before")
child = os.fork()
if child == 0:
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")

    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


def test_what_nobody_waited_for_is_flushed_at_exit(app: App, run: Run) -> None:
    done = run("""
greet.enqueue("first")
async def main():
    task = asyncio.create_task(greet.enqueue_async("last"))
    await asyncio.sleep(0)
asyncio.run(main())
""")

    assert (done.stderr, done.returncode) == ("", 0)
    assert sorted(r.key or b"" for r in records(app)) == [b"first", b"last"]


def test_consumers_of_the_configuration_find_the_jobs(app: App) -> None:
    greeter(app).enqueue("a")
    consumer = Consumer(consumer_config(app.settings, f"{app.name}.mail"))
    consumer.subscribe([f"{app.name}.mail"])
    deadline = time.monotonic() + 60
    found = None

    while found is None and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found = message.key()
    consumer.close()

    assert found == b"a"
