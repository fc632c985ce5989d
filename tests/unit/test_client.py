"""What becomes of a call before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from streamjobs import App, client
from streamjobs.client import RECORD_OVERHEAD, Client, Summary
from streamjobs.codec import Decoder, MemorySchemaStore, is_id
from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    EnqueueError,
    InvalidArguments,
    SchemaConflict,
    SchemaUnavailable,
    SettingsError,
    StreamjobsError,
    TopicsError,
)
from streamjobs.kafka.producer import Tally, enqueue_error
from streamjobs.settings import Settings, load_settings

PRIORITIES = ("high", "normal", "low")
TOPICS = frozenset({"shop.mail", "shop.schemas", *(f"shop.urgent.{p}" for p in PRIORITIES)})


@pytest.fixture
def app() -> App:
    made = App("shop")
    made.queue("mail")
    made.queue("urgent", priorities=PRIORITIES)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """A broker that has the app's topics, and how often it was asked."""
    questions: list[Settings] = []

    def answer(settings: Settings) -> frozenset[str]:
        questions.append(settings)
        return TOPICS

    monkeypatch.setattr(client, "list_topics", answer)
    return questions


def a_client(store: Any = None, **settings: Any) -> Client:
    return Client(load_settings({}, **settings), "shop", store or MemorySchemaStore())


@pytest.mark.usefixtures("asked")
def test_a_call_becomes_a_record_that_decodes_to_itself(app: App) -> None:
    @app.job(queue="mail", key="who")
    def greet(who: int, name: str = "ann") -> None: ...

    store = MemorySchemaStore()
    record = a_client(store).outgoing(greet.call(7))

    assert (record.topic, record.key) == ("shop.mail", b"7")
    definition, envelope = Decoder("shop", app.registry, store).decode(record.value)
    assert definition is greet.definition
    assert envelope.args == {"who": 7, "name": "ann"}
    assert envelope.id == record.id
    assert is_id(record.id)
    assert envelope.enqueued_at > 1_600_000_000_000_000


def test_broker_and_store_are_asked_once(app: App, asked: list[Settings]) -> None:
    @app.job(queue="mail")
    def greet() -> None: ...
    @app.job(queue="mail")
    def bye() -> None: ...

    sender = a_client()
    records = [sender.outgoing(job.call()) for job in (greet, bye, greet)]

    assert len(asked) == 1
    assert len({record.id for record in records}) == 3


@pytest.mark.usefixtures("asked")
def test_without_a_key_there_is_no_order(app: App) -> None:
    @app.job(queue="mail")
    def greet(name: str) -> None: ...

    sender = a_client()

    assert sender.outgoing(greet.call("ann")).key is None
    assert sender.outgoing(greet.options(key="").call("ann")).key == b""
    assert sender.outgoing(greet.options(key="é").call("ann")).key == "é".encode()


@pytest.mark.usefixtures("asked")
def test_a_given_id_is_the_jobs_id(app: App) -> None:
    @app.job(queue="mail")
    def greet() -> None: ...

    wanted = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

    assert a_client().outgoing(greet.options(id=wanted).call()).id == wanted


@pytest.mark.usefixtures("asked")
def test_a_priority_decides_the_topic(app: App) -> None:
    @app.job(queue="urgent", key="name")
    def greet(name: str) -> None: ...

    high = greet.options(priority="high")
    calls = [greet.call("ann"), high.call("ann"), high.options(key=None).call("ann")]
    calls += [greet.options(priority="low").call("ann"), greet.options(key="k").call("ann")]
    sender = a_client()

    topics = [sender.outgoing(call).topic.removeprefix("shop.urgent.") for call in calls]

    assert topics == ["normal", "high", "high", "low", "normal"]


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        ("urgent", "priority='hihg': queue 'urgent' has high, normal, low"),
        ("mail", "priority='hihg': queue 'mail' has no priorities"),
    ],
)
def test_a_priority_that_is_not_there(app: App, queue: str, problem: str) -> None:
    @app.job(queue=queue)
    def greet() -> None: ...

    with pytest.raises(InvalidArguments, match=problem):
        greet.options(priority="hihg")


@pytest.mark.usefixtures("asked")
def test_half_a_character_is_no_text(app: App) -> None:
    @app.job(queue="mail")
    def greet(name: str) -> None: ...

    with pytest.raises(InvalidArguments, match=r"key: '\\ud800' is not text"):
        a_client().outgoing(greet.options(key="\ud800").call("ann"))
    with pytest.raises(InvalidArguments):
        a_client().outgoing(greet.call("\ud800"))


@pytest.mark.usefixtures("asked")
def test_the_limit_is_the_topics_and_exact(app: App) -> None:
    @app.job(queue="mail")
    def greet(data: bytes) -> None: ...

    sender = a_client(kafka={"message.max.bytes": 2000})
    empty = len(sender.outgoing(greet.call(b"")).value)
    # One more byte than for an empty text tells its length.
    room = 2000 - RECORD_OVERHEAD - empty - 1

    sender.outgoing(greet.call(bytes(room)))
    with pytest.raises(EnqueueError, match=r"greet.*2,001 bytes.*shop\.mail.*2,000") as caught:
        sender.outgoing(greet.call(bytes(room + 1)))
    assert not caught.value.retriable


@pytest.mark.usefixtures("asked")
def test_a_queue_without_a_topic(app: App) -> None:
    @app.job
    def greet() -> None: ...

    with pytest.raises(TopicsError, match=r"shop\.default does not exist: 'streamjobs -A"):
        a_client().outgoing(greet.call())


class Failing(MemorySchemaStore):
    def __init__(self, error: StreamjobsError) -> None:
        super().__init__()
        self.error = error

    def prefix(self, topic: str, name: str, schema: str) -> bytes:
        raise self.error


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("met", "raised", "retriable"),
    [
        (SchemaUnavailable("x"), EnqueueError, True),
        (BrokerUnavailable("x"), EnqueueError, True),
        (EnqueueError("x", retriable=False), EnqueueError, False),
        (AuthenticationError("x"), AuthenticationError, None),
        (SchemaConflict("x"), SchemaConflict, None),
        (SettingsError("x"), SettingsError, None),
        (TopicsError("x"), TopicsError, None),
    ],
)
def test_what_an_enqueue_raises(
    app: App, met: StreamjobsError, raised: type[Exception], retriable: bool | None
) -> None:
    @app.job(queue="mail")
    def greet() -> None: ...

    with pytest.raises(raised) as caught:
        a_client(Failing(met)).outgoing(greet.call())

    assert type(caught.value) is raised
    assert getattr(caught.value, "retriable", None) is retriable
    assert type(enqueue_error(met)) is raised


def test_a_tally_keeps_the_first_error() -> None:
    tally = Tally(queued=3)
    message: Any = None
    first: Any = "first"
    second: Any = "second"

    tally.report(None, message)
    tally.report(first, message)
    tally.report(second, message)

    assert (tally.delivered, tally.failed, tally.error) == (1, 2, first)


def test_nothing_in_no_time_is_no_rate() -> None:
    assert Summary(0, 0.0).per_second == 0
    assert Summary(10, 2.0).per_second == 5
