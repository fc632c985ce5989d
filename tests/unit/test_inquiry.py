"""Asking where a shard stands, against clients that answer as they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.kafka import endings, inquiry
from streamjobs.kafka.inquiry import Inquiry
from streamjobs.kafka.standing import Ends, Stand, Stands
from streamjobs.settings import Settings

SHARD = [("shop.mail", 0), ("shop.mail.retry.1s", 0)]
NO_PARTITION = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
UNSTABLE = KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Broker:
    """What the clients are told."""

    def __init__(self) -> None:
        self.unstable = False
        self.blind_clients = 0
        self.offset = 4
        self.defect = False
        self.refuses = 0
        self.hidden = 0
        self.clients: list[FakeConsumer] = []
        self.initialised: list[str] = []
        self.text = "old-owner"
        self.members: list[frozenset[str] | None] = []
        self.slow_coordinators = 0
        self.ends, self.says_so = threading.Event(), threading.Event()
        self.ends.set()
        self.says_so.set()

    def initialise(self, name: str) -> None:
        self.initialised.append(name)
        assert self.ends.wait(20)
        self.unstable, self.hidden = False, 0
        assert self.says_so.wait(20)


class FakePlace:
    """A partition that the broker says something of other than where it stands."""

    topic, partition = SHARD[0]
    offset, metadata, error = OFFSET_INVALID, "", KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


class FakeConsumer:
    """A client of that broker."""

    broker: Broker

    def __init__(self, config: dict[str, Any]) -> None:
        self.committed_only = config["isolation.level"] == "read_committed"
        self.number = len(self.broker.clients)
        self.closed = False
        self.broker.clients.append(self)

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.broker.unstable and self.committed_only:
            threading.Event().wait(0.01)
            raise UNSTABLE
        assert timeout < 1
        if self.broker.defect:
            raise RuntimeError("a defect")
        if self.broker.refuses:
            self.broker.refuses -= 1
            return [cast("TopicPartition", FakePlace())]
        text, offset = self.broker.text, self.broker.offset
        return [TopicPartition(p.topic, p.partition, offset, metadata=text) for p in asked]

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout < 1
        if self.number < self.broker.blind_clients:
            raise NO_PARTITION
        return 0, 10 - (self.broker.hidden if self.committed_only else 0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    FakeConsumer.broker = broker

    class FakeProducer:
        def __init__(self, config: dict[str, Any]) -> None:
            self.name = config["transactional.id"]

        def list_topics(self, *, timeout: float) -> None: ...

        def init_transactions(self, _: float) -> None:
            if broker.slow_coordinators:
                broker.slow_coordinators -= 1
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))
            broker.initialise(self.name)

    def members_of(_: Settings, group: str, timeout: float) -> frozenset[str] | None:
        assert (group, timeout < 1) == ("shop.mail", True)
        return broker.members.pop(0) if len(broker.members) > 1 else broker.members[0]

    monkeypatch.setattr(inquiry, "members_of", members_of)
    monkeypatch.setattr(inquiry, "MEMBERS_PATIENCE", 0.1)
    monkeypatch.setattr(inquiry, "Consumer", FakeConsumer)
    monkeypatch.setattr(endings, "Producer", FakeProducer)
    monkeypatch.setattr(inquiry, "PATIENCE", 0.1)
    monkeypatch.setattr(inquiry, "AGAIN", 0.02)
    return broker


@pytest.fixture
def asks(broker: Broker) -> Any:
    assert broker.clients == []
    asks = Inquiry(
        Settings(),
        "shop.mail",
        lambda text: text or None,
        lambda text: text.removeprefix("tried by ") if text.startswith("tried") else None,
        lambda text: text == "gone",
    )
    yield asks
    asks.close()


def until(true: Callable[[], Any]) -> Any:
    deadline = monotonic() + 20
    while not (found := true()):
        assert monotonic() < deadline
        threading.Event().wait(0.01)
    return found


def test_what_is_refused_of_a_partition_is_not_that_nothing_was_committed(
    broker: Broker, asks: Inquiry
) -> None:
    broker.refuses = 2

    asks.stands({0: ("token", SHARD)})

    (told,) = until(asks.answers)
    assert {stand.offset for stand in told.of.values()} == {4}
    assert broker.refuses == 0


def test_what_is_stable_is_told_at_once(asks: Inquiry) -> None:
    asks.stands({0: ("token", SHARD)})

    (answer,) = until(asks.answers)

    told = Stand(4, "old-owner")
    assert answer == Stands(0, "token", {"shop.mail": told, "shop.mail.retry.1s": told})


def test_a_transaction_that_keeps_offsets_unstable_is_ended_by_the_id_beside_them(
    asks: Inquiry, broker: Broker
) -> None:
    broker.unstable = True
    asks.stands({0: ("token", SHARD)})

    (answer,) = until(asks.answers)

    assert broker.initialised == ["old-owner"]
    assert answer.of["shop.mail"].offset == 4


@pytest.mark.parametrize(("text", "at_once"), [("gone", True), ("old-owner", False)])
def test_what_an_owner_that_is_gone_left_open_is_ended_at_once(
    asks: Inquiry, broker: Broker, monkeypatch: pytest.MonkeyPatch, *, text: str, at_once: bool
) -> None:
    patience = 60.0 if at_once else 0.5
    monkeypatch.setattr(inquiry, "PATIENCE", patience)
    broker.unstable, broker.text = True, text
    began = monotonic()

    asks.stands({0: ("token", SHARD), 1: ("another", [(SHARD[0][0], 1)])})

    until(lambda: broker.initialised)
    assert (monotonic() - began < patience) is at_once
    assert broker.initialised == [text]


@pytest.mark.parametrize("gone", [True, False])
def test_so_is_one_that_hides_the_end_of_a_tier(
    asks: Inquiry, broker: Broker, monkeypatch: pytest.MonkeyPatch, *, gone: bool
) -> None:
    patience = 60.0 if gone else 0.5
    monkeypatch.setattr(inquiry, "PATIENCE", patience)
    broker.hidden = 3
    began = monotonic()

    asks.ends(0, "token", SHARD, ["older-owner"], gone=gone)

    until(lambda: broker.initialised)
    assert (monotonic() - began < patience) is gone


def test_that_a_transaction_has_ended_is_seen_before_the_call_returns(
    asks: Inquiry, broker: Broker
) -> None:
    # given a transaction that takes a while to end, and a call that returns even later
    broker.unstable = True
    broker.ends.clear()
    broker.says_so.clear()
    try:
        asks.stands({0: ("token", SHARD), 1: ("another", [(SHARD[0][0], 1)])})

        # then who waits for it is told so, and it is ended once
        until(lambda: broker.initialised and asks.held_up)
        assert asks.answers() == []
        broker.ends.set()
        answers: list[Stands | Ends] = []
        until(lambda: len(answers.__iadd__(asks.answers())) == 2)
        assert {answer.number for answer in answers} == {0, 1}
        assert not asks.held_up
        assert broker.initialised == ["old-owner"]
    finally:
        broker.says_so.set()


def test_it_is_ended_as_soon_as_its_coordinator_has_a_successor(
    asks: Inquiry, broker: Broker
) -> None:
    broker.unstable, broker.slow_coordinators = True, 2
    asks.stands({0: ("token", SHARD)})

    (answer,) = until(asks.answers)

    assert answer.of["shop.mail"].offset == 4
    assert (broker.initialised, broker.slow_coordinators) == (["old-owner"], 0)


def test_of_a_shard_that_is_somebody_elses_nothing_is_asked_and_nothing_is_ended(
    asks: Inquiry, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a shard that is held up by one who may live, and of which nothing is known yet
    monkeypatch.setattr(inquiry, "PATIENCE", 0.5)
    broker.unstable = True
    asks.stands({0: ("token", SHARD)})
    until(lambda: asks._unstable)

    # when it is taken away
    asks.forget([0])

    # then nobody is fenced for it, nor is anything answered when it is stable
    threading.Event().wait(1.0)
    assert broker.initialised == []
    broker.unstable = False
    asks.stands({1: ("another", [(SHARD[0][0], 1)])})
    (answer,) = until(asks.answers)
    assert answer.token == "another"
    assert not asks.held_up


def test_a_transaction_that_hides_the_end_of_a_tier_is_ended_too(
    asks: Inquiry, broker: Broker
) -> None:
    broker.hidden = 3
    asks.ends(0, "token", SHARD, ["older-owner"])

    (answer,) = until(asks.answers)
    until(lambda: broker.initialised)

    assert answer == Ends(0, "token", {"shop.mail": 10, "shop.mail.retry.1s": 10})
    assert broker.initialised == ["older-owner"]


def test_a_client_that_knows_no_partition_any_longer_is_replaced(
    asks: Inquiry, broker: Broker
) -> None:
    broker.blind_clients = 2
    asks.ends(0, "token", SHARD, [])

    (answer,) = until(asks.answers)

    assert answer.of["shop.mail"] == 10
    assert len(broker.clients) == 4
    assert [client.closed for client in broker.clients] == [True, True, False, False]


def test_where_a_log_begins_is_asked_again_while_its_topic_is_not_to_be_had(
    asks: Inquiry, broker: Broker
) -> None:
    broker.offset, broker.blind_clients = OFFSET_INVALID, 2
    asks.stands({0: ("token", SHARD)})

    (answer,) = until(asks.answers)

    assert answer.of["shop.mail"] == Stand(None, None, 0)
    assert len(broker.clients) == 4


def test_a_defect_is_told_to_who_waits_for_the_answer(asks: Inquiry, broker: Broker) -> None:
    broker.defect = True
    asks.stands({0: ("token", SHARD)})

    with pytest.raises(RuntimeError, match="a defect"):
        until(asks.answers)


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([frozenset({"streamjobs-abc", "streamjobs-xyz"})], {"abc"}),
        ([frozenset({"streamjobs-xyz"})], set()),
        ([None, frozenset({"streamjobs-abc"})], {"abc"}),
        ([None], set()),
    ],
    ids=["it lives", "it is gone", "told later", "never told"],
)
def test_whether_who_tried_a_job_alone_lives_is_asked_of_the_group(
    asks: Inquiry, broker: Broker, members: list[frozenset[str] | None], found: set[str]
) -> None:
    broker.text, broker.members = "tried by abc", members
    asks.stands({0: ("token", SHARD)})

    (answer,) = until(asks.answers)

    assert answer.members == found
    assert answer.of["shop.mail"] == Stand(4, "tried by abc")
