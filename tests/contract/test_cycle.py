"""One cycle on a real broker: records and offsets together, or neither."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from queue import Queue
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streamjobs.clock import monotonic
from streamjobs.kafka import cycle
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import DELIVERY_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS
from streamjobs.kafka.cycle import IdempotentProducer, TransactionalProducer
from streamjobs.kafka.group import GroupConsumer
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.kafka.reader import read
from streamjobs.settings import Settings, load_settings
from streamjobs.testing import GroupProtocol
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import Onward

SMALL = 2_000


class Place:
    """Two topics, of which ``.small`` takes little, and a group that reads the first."""

    def __init__(
        self, broker: Broker, name: str, protocol: GroupProtocol, stack: ExitStack
    ) -> None:
        self.bootstrap, self.name, self.protocol, self.stack = (
            broker.bootstrap,
            name,
            protocol,
            stack,
        )
        small = {"max.message.bytes": str(SMALL)}
        broker.create_topics([TopicSpec(self.main, 2), TopicSpec(self.small, 1, small)])

    @property
    def main(self) -> str:
        return f"{self.name}.main"

    @property
    def small(self) -> str:
        return f"{self.name}.small"

    def settings(self, **kafka: Any) -> Settings:
        return load_settings({}, bootstrap_servers=self.bootstrap, kafka=kafka)

    def join(self, owned: list[Any]) -> GroupConsumer:
        """One that is not a member before it was polled."""
        consumer = GroupConsumer(
            self.settings(),
            self.name,
            [self.main],
            protocol=self.protocol,
            on_assigned=owned.extend,
            on_revoked=lambda _: None,
            on_lost=lambda _: None,
        )
        self.stack.callback(consumer.close)
        return consumer

    def begun(self) -> tuple[GroupConsumer, TransactionalProducer]:
        """A member, and a producer that has made a first cycle for it."""
        member = self.member()
        producer = TransactionalProducer(self.settings(), self.name)
        producer.send([Onward(self.main, 1, None, b"a")], self.offset(1), member.metadata, unasked)
        return member, producer

    def member(self) -> GroupConsumer:
        """A member that owns both partitions."""
        owned: list[Any] = []
        consumer = self.join(owned)
        deadline = monotonic() + 30
        while len(owned) < 2:
            assert monotonic() < deadline
            consumer.poll(0.1)
        return consumer

    def committed(self) -> int | None:
        with Admin(self.settings()) as admin:
            return admin.committed(self.name, [(self.main, 0)]).get((self.main, 0))

    def offset(self, offset: int) -> list[TopicPartition]:
        return [TopicPartition(self.main, 0, offset)]

    def there(self, topic: str, partitions: int) -> list[bytes | None]:
        places = [(topic, number) for number in range(partitions)]
        with Admin(self.settings()) as admin:
            logs = admin.watermarks(places)
        ranges = {place: (log.start, log.end) for place, log in logs.items()}
        return [record.value for record in read(self.settings(), ranges)]


def unasked() -> bool:
    """What no cycle asks that has an answer."""
    raise AssertionError("it was asked what the transaction came to")


@pytest.fixture
def place(kafka_broker: Broker, app_name: str, group_protocol: GroupProtocol) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(kafka_broker, app_name, group_protocol, stack)


def test_records_and_offsets_become_visible_together(place: Place) -> None:
    member = place.member()
    producer = TransactionalProducer(place.settings(), place.name)

    producer.send([Onward(place.main, 1, b"k", b"v")], place.offset(3), member.metadata, unasked)

    assert place.there(place.main, 2) == [b"v"]
    assert place.committed() == 3


def test_when_one_record_is_refused_neither_the_others_nor_the_offsets_are_there(
    place: Place,
) -> None:
    # given a cycle of which one record is too large for its topic
    member = place.member()
    producer = TransactionalProducer(place.settings(), place.name)
    records = [Onward(place.main, 1, None, b"a"), Onward(place.small, 0, None, bytes(SMALL * 2))]

    # when it is sent, then it fails and names the topic
    with pytest.raises(CycleFailed, match=rf"not delivered: {place.small}\[0\]") as caught:
        producer.send(records, place.offset(3), member.metadata, unasked)
    assert not caught.value.fatal

    # and the same producer sends the next one, beside which there is nothing
    producer.send([Onward(place.main, 1, None, b"b")], place.offset(1), member.metadata, unasked)
    assert place.there(place.main, 2) == [b"b"]
    assert place.there(place.small, 1) == []
    assert place.committed() == 1


def test_who_has_left_the_group_is_fenced(place: Place) -> None:
    # given the metadata of a member that is gone, and somebody else in its place
    gone = place.member()
    metadata = gone.metadata
    gone.close()
    member = place.member()
    producer = TransactionalProducer(place.settings(), place.name)

    # when a cycle is sent in its name, then nothing of it is there
    with pytest.raises(CycleFailed):
        producer.send([Onward(place.main, 1, None, b"zombie")], place.offset(9), metadata, unasked)
    producer.send([Onward(place.main, 1, None, b"b")], place.offset(1), member.metadata, unasked)

    assert place.there(place.main, 2) == [b"b"]
    assert place.committed() == 1


def test_a_fenced_producer_says_that_it_is_used_up(place: Place) -> None:
    # given two producers of one transactional id, as never happens, and the later one has begun
    member = place.member()
    early, late = (TransactionalProducer(place.settings(), place.name) for _ in range(2))
    early.send([Onward(place.main, 1, None, b"a")], place.offset(1), member.metadata, unasked)
    late._producer = type(late._producer)(
        {
            "bootstrap.servers": place.bootstrap,
            "transactional.id": early.transactional_id,
        }
    )
    late.send([Onward(place.main, 1, None, b"b")], place.offset(2), member.metadata, unasked)

    # when the earlier goes on, then it fails for good
    with pytest.raises(CycleFailed) as caught:
        early.send([Onward(place.main, 1, None, b"c")], place.offset(3), member.metadata, unasked)

    assert caught.value.fatal
    assert sorted(v or b"" for v in place.there(place.main, 2)) == [b"a", b"b"]
    assert place.committed() == 2


class Stuck:
    """A client that does not come back from sending offsets before it is let go."""

    def __init__(self, client: Any) -> None:
        self._client, self.let_go, self.came_to = client, threading.Event(), Queue[object]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self.let_go.wait(60)
        try:
            self._client.send_offsets_to_transaction(*arguments)
            self._client.commit_transaction(10)
        except KafkaException as error:
            self.came_to.put(error)
        else:
            self.came_to.put("committed")


def test_a_client_that_is_stuck_is_given_up_and_the_next_one_of_its_id_ends_what_it_began(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a client that sends no offsets, whatever time it is given
    member, producer = place.begun()
    stuck = Stuck(producer._producer)
    producer._producer = cast("Any", stuck)

    # when a cycle is sent, then it fails, and says so
    with monkeypatch.context() as hurried:  # this one alone: the others may take their time
        hurried.setattr(cycle, "OFFSETS_TIMEOUT", 0.2)
        hurried.setattr(cycle, "OFFSETS_GRACE", 0.1)
        with pytest.raises(CycleFailed, match="is given up") as caught:
            producer.send(
                [Onward(place.main, 1, None, b"b")], place.offset(2), member.metadata, unasked
            )
    assert caught.value.fatal
    assert caught.value.stuck

    # and the next producer of its id need not wait until the transaction has timed out
    began = monotonic()
    after = TransactionalProducer(place.settings(), fixed=producer.transactional_id)
    after.send([Onward(place.main, 1, None, b"c")], place.offset(2), member.metadata, unasked)
    assert monotonic() - began < TRANSACTION_TIMEOUT_MS / 1250

    # and what was stuck commits nothing when it goes on after all
    stuck.let_go.set()
    assert isinstance(stuck.came_to.get(timeout=30), KafkaException)
    assert place.there(place.main, 2) == [b"a", b"c"]
    assert place.committed() == 2


# A client that has lost sight of its coordinator; and one whose coordinator's name is not to be
# resolved when it connects again, since that node is gone: "abort" is no answer of the coordinator.
NO_ANSWER = KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True)
NO_NAME = KafkaError(KafkaError._RESOLVE, "no answer", txn_requires_abort=True)


class Unanswered:
    """A client whose commit has no answer of its coordinator's."""

    def __init__(self, client: Any, *, commits: bool, error: KafkaError = NO_ANSWER) -> None:
        self._client, self._commits, self._error = client, commits, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def commit_transaction(self, timeout: float) -> None:
        if self._commits:
            self._client.commit_transaction(timeout)
            self._commits = False
        raise KafkaException(self._error)


@pytest.mark.parametrize("error", [NO_ANSWER, NO_NAME], ids=["no answer", "abort it"])
@pytest.mark.parametrize("commits", [True, False], ids=["it was made", "it was not"])
def test_what_a_commit_without_an_answer_came_to_is_found_out_by_another_client_of_its_id(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: KafkaError, *, commits: bool
) -> None:
    # given a client whose commit is not answered, whether it was made or not
    member, producer = place.begun()
    before = producer._producer
    producer._producer = cast("Any", Unanswered(before, commits=commits, error=error))
    monkeypatch.setattr(cycle, "COMMIT_PATIENCE", 0.2)
    pair = (place.main, 0)

    def was_committed() -> bool | None:
        found = member.committed([pair], 1.0)
        return None if found is None else found[pair] == (2, "")

    # when a cycle is sent, then it says what is true, and does not wait until it has timed out
    began = monotonic()
    send = partial(producer.send, [Onward(place.main, 1, None, b"b")], place.offset(2))
    if commits:
        send(member.metadata, was_committed)
    else:
        with pytest.raises(CycleFailed, match="not committed: no answer") as caught:
            send(member.metadata, was_committed)
        assert not caught.value.fatal
    assert monotonic() - began < TRANSACTION_TIMEOUT_MS / 1250
    assert place.there(place.main, 2) == [b"a", b"b"][: 1 + commits]
    assert place.committed() == 1 + commits

    # and the next one is made by another client
    assert producer._producer is not before
    producer.send([Onward(place.main, 1, None, b"c")], place.offset(3), member.metadata, unasked)
    assert place.there(place.main, 2) == [b"a", b"b", b"c"][:: 1 if commits else 2]
    assert place.committed() == 3


def test_no_stable_offsets_are_told_while_a_transaction_has_some_open(place: Place) -> None:
    member, producer = place.begun()
    pair = (place.main, 0)
    assert member.committed([pair, (place.main, 1)], 10.0) == {pair: (1, "")}

    producer._producer.begin_transaction()
    producer._producer.send_offsets_to_transaction(place.offset(2), member.metadata, 10.0)
    assert member.committed([pair], 0.5) is None

    producer._producer.commit_transaction(10.0)
    assert member.committed([pair], 10.0) == {pair: (2, "")}


def test_who_was_fenced_at_its_commit_asks_what_it_came_to(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given one whose commit was made, and whose answer is that another has its id by then
    member, producer = place.begun()
    client = producer._producer

    class Fenced(Unanswered):
        def commit_transaction(self, timeout: float) -> None:
            client.commit_transaction(timeout)
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))

    monkeypatch.setattr(producer, "_producer", Fenced(client, commits=True))
    asked = iter([None, True])

    # then it is asked until that is known
    producer.send(
        [Onward(place.main, 1, None, b"b")], place.offset(2), member.metadata, lambda: next(asked)
    )
    assert next(asked, "all") == "all"

    monkeypatch.setattr(producer, "_producer", Fenced(client, commits=True))
    with pytest.raises(CycleFailed, match="used up: fenced") as caught:
        producer.send(
            [Onward(place.main, 1, None, b"c")], place.offset(3), member.metadata, lambda: False
        )
    assert caught.value.fatal


class Blind:
    """A client that never finds the coordinator of its transactions."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def init_transactions(self, _timeout: float) -> None:
        raise KafkaException(NO_ANSWER)


def blind_clients(monkeypatch: pytest.MonkeyPatch, producer: TransactionalProducer) -> list[Blind]:
    """Have its next client be blind, and the one after that not."""
    make, made = producer._new_client, list[Blind]()

    def new_client() -> Any:
        if made:
            return make()
        made.append(Blind(make()))
        return made[0]

    monkeypatch.setattr(producer, "_new_client", new_client)
    return made


def test_where_another_client_does_not_find_it_either_yet_another_one_asks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, producer = place.begun()
    producer._producer = cast("Any", Unanswered(producer._producer, commits=True))
    monkeypatch.setattr(cycle, "COMMIT_PATIENCE", 0.2)
    monkeypatch.setattr(cycle, "RENEWAL_PATIENCE", 0.2)
    blind = blind_clients(monkeypatch, producer)
    asked = iter([None, True])

    producer.send(
        [Onward(place.main, 1, None, b"b")], place.offset(2), member.metadata, lambda: next(asked)
    )
    assert len(blind) == 1
    producer.send([Onward(place.main, 1, None, b"c")], place.offset(3), member.metadata, unasked)
    assert place.there(place.main, 2) == [b"a", b"b", b"c"]


def test_a_client_that_never_begins_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = place.member()
    producer = TransactionalProducer(place.settings(), place.name)
    producer._producer = cast("Any", Blind(producer._producer))
    monkeypatch.setattr(cycle, "BEGIN_PATIENCE", 0.1)
    monkeypatch.setattr(cycle, "COMMIT_PATIENCE", 0.3)
    send = partial(
        producer.send,
        [Onward(place.main, 1, None, b"a")],
        place.offset(1),
        member.metadata,
        unasked,
    )
    failed = 0
    while isinstance(producer._producer, Blind):
        with pytest.raises(CycleFailed, match="not begun") as caught:
            send()
        assert not caught.value.fatal
        failed += 1
        assert failed < 1_000

    assert failed > 1
    send()
    assert place.there(place.main, 2) == [b"a"]


def test_no_two_producers_fence_each_other_by_chance(place: Place) -> None:
    one, two = (TransactionalProducer(place.settings(), place.name) for _ in range(2))

    assert one.transactional_id.startswith(f"{place.name}.")
    assert one.transactional_id != two.transactional_id


def test_the_metadata_is_that_of_the_present_generation(place: Place) -> None:
    # given a member that has committed, and another that joins after it
    first = place.member()
    producer = TransactionalProducer(place.settings(), place.name)
    producer.send([Onward(place.main, 1, None, b"a")], place.offset(1), first.metadata, unasked)
    others: list[Any] = []
    second = place.join(others)
    deadline = monotonic() + 40
    while not others:
        assert monotonic() < deadline
        first.poll(0.05)
        second.poll(0.05)

    # when it commits again, then it is taken
    producer.send([Onward(place.main, 1, None, b"b")], place.offset(2), first.metadata, unasked)
    assert place.committed() == 2


@pytest.mark.parametrize("kind", ["transactional", "idempotent"])
def test_a_full_local_queue_holds_the_cycle_back_and_drops_nothing(place: Place, kind: str) -> None:
    settings = place.settings(**{"queue.buffering.max.messages": 5})
    values = [b"%d" % number for number in range(300)]
    records = [Onward(place.main, 0, None, value) for value in values]

    if kind == "transactional":
        producer = TransactionalProducer(settings, place.name)
        producer.send(records, place.offset(3), place.member().metadata, unasked)
    else:
        IdempotentProducer(settings).send(records)

    assert place.there(place.main, 2) == values


def test_without_transactions_a_record_that_was_refused_is_an_error_too(place: Place) -> None:
    producer = IdempotentProducer(place.settings())

    with pytest.raises(CycleFailed, match=rf"not delivered: {place.small}\[0\]"):
        producer.send([Onward(place.small, 0, None, bytes(SMALL * 2))])

    # and the failure of one cycle is not the next one's
    producer.send([Onward(place.small, 0, None, b"b")])
    assert place.there(place.small, 1) == [b"b"]


def test_what_is_unknown_is_never_aborted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a broker that answers the commit later than a call waits
    member, producer = place.begun()
    asked: list[float] = []
    until_done: Callable[[Any, float], None] = producer._until_done

    def hurried(call: Any, patience: float) -> None:
        def first_in_a_hurry(timeout: float) -> None:
            asked.append(timeout)
            call(0.000001 if len(asked) == 1 else timeout)

        until_done(first_in_a_hurry, patience)

    monkeypatch.setattr(producer, "_until_done", hurried)

    # when the first question times out, which it does but for a broker that is as quick as the call
    offset = 1
    while len(asked) < 2:
        assert offset < 20
        asked.clear()
        offset += 1
        producer.send(
            [Onward(place.main, 1, None, b"b")], place.offset(offset), member.metadata, unasked
        )

    # then it is asked again, and committed once
    assert place.there(place.main, offset) == [b"a", *[b"b"] * (offset - 1)]
    assert place.committed() == offset


@pytest.mark.parametrize("kind", ["transactional", "idempotent"])
def test_a_topic_that_is_not_there_is_told_soon_and_nothing_is_left_of_it(
    place: Place, kind: str
) -> None:
    # given a producer that has written, and one record for a topic that is not there
    member = place.member()
    gone = f"{place.name}.gone"
    records = [Onward(place.main, 1, None, b"beside"), Onward(gone, 0, None, b"lost")]
    transactional = TransactionalProducer(place.settings(), place.name)
    idempotent = IdempotentProducer(place.settings())

    def send(records: list[Onward], offset: int) -> None:
        if kind == "transactional":
            transactional.send(records, place.offset(offset), member.metadata, unasked)
        else:
            idempotent.send(records)

    send([Onward(place.main, 0, None, b"a")], 1)

    # when both are sent, then it is told before the record times out
    began = monotonic()
    with pytest.raises(CycleFailed) as caught:
        send(records, 2)
    assert monotonic() - began < DELIVERY_TIMEOUT_MS / 1000 - 1
    assert caught.value.refused == {(gone, 0): f"{gone} does not exist"}

    # and when the topic is made, it has what is sent from then on and nothing else
    with Admin(place.settings()) as admin:
        admin.apply(admin.plan([TopicSpec(gone, 1)]))
    if kind == "transactional" and caught.value.fatal:
        transactional = TransactionalProducer(place.settings(), place.name)
    send([Onward(gone, 0, None, b"b")], 3)
    assert place.there(gone, 1) == [b"b"]
