"""One producer of an id at a time, on a real broker: who comes later ends what was under way."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka import reader
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.config import TRANSACTION_TIMEOUT_MS, producer_config
from streamjobs.kafka.outcome import CycleFailed
from streamjobs.kafka.sole import SoleProducer
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import TopicSpec
from streamjobs.worker.commit import Onward


@pytest.fixture
def settings(kafka_broker: Broker, app_name: str) -> Settings:
    kafka_broker.create_topics(
        [TopicSpec(app_name, 1), TopicSpec(f"{app_name}.small", 1, {"max.message.bytes": "2000"})]
    )
    return load_settings({}, bootstrap_servers=kafka_broker.bootstrap)


def there(settings: Settings, topic: str, *, whole: bool = True) -> list[bytes | None]:
    with Admin(settings) as admin:
        logs = admin.watermarks([(topic, 0)])
    ranges = {place: (log.start, log.end) for place, log in logs.items()}
    return [record.value for record in reader.read(settings, ranges, whole=whole)]


def test_a_later_one_fences_the_earlier_and_ends_its_transaction(
    settings: Settings, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given one that has written, and is in the middle of the next
    early, late = (SoleProducer(settings, f"{app_name}.sole") for _ in range(2))
    early.take_over()
    early.write([Onward(app_name, 0, None, b"1")])
    commit = early._commit

    def overtaken() -> None:
        late.take_over()
        # then what it has not committed is gone at once, not only when it expires
        began = monotonic()
        assert there(settings, app_name) == [b"1"]
        assert monotonic() - began < TRANSACTION_TIMEOUT_MS / 1250
        late.write([Onward(app_name, 0, None, b"2")])
        commit()

    # when another takes over
    monkeypatch.setattr(early, "_commit", overtaken)
    with pytest.raises(CycleFailed) as caught:
        early.write([Onward(app_name, 0, None, b"zombie")])

    # then the earlier one is told, and only the later one's is there
    assert caught.value.fatal
    late.write([Onward(app_name, 0, None, b"3")])
    assert there(settings, app_name) == [b"1", b"2", b"3"]


def test_what_may_have_been_committed_is_not_written_a_second_time(
    settings: Settings, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a commit that was made, after which the client cannot connect to its coordinator again
    producer = SoleProducer(settings, f"{app_name}.sole")
    producer.take_over()
    commit = producer._commit

    def breaks() -> None:
        commit()
        raise KafkaException(KafkaError(KafkaError._RESOLVE, "no name", txn_requires_abort=True))

    monkeypatch.setattr(producer, "_commit", breaks)
    with pytest.raises(BrokerUnavailable, match="no name"):
        producer.write([Onward(app_name, 0, None, b"1")])

    assert there(settings, app_name) == [b"1"]


def test_what_is_refused_is_aborted_and_the_next_is_written(
    settings: Settings, app_name: str
) -> None:
    producer = SoleProducer(settings, f"{app_name}.sole")
    producer.take_over()
    producer.write([Onward(f"{app_name}.small", 0, None, b"1")])
    with pytest.raises(CycleFailed, match=rf"not delivered: {app_name}.small\[0\]") as caught:
        producer.write(
            [Onward(app_name, 0, None, b"a"), Onward(f"{app_name}.small", 0, None, bytes(4_000))]
        )
    assert not caught.value.fatal
    producer.write([Onward(f"{app_name}.small", 0, None, b"2")])
    assert there(settings, f"{app_name}.small") == [b"1", b"2"]
    assert there(settings, app_name) == []


def test_reading_the_whole_waits_for_an_open_transaction_or_fails(
    settings: Settings, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a record, an open transaction, and a record behind it
    plain = Producer(producer_config(settings))
    open_one = Producer(producer_config(settings, transactional_id=app_name))
    open_one.init_transactions(20)
    produce(plain, app_name, b"before")
    open_one.begin_transaction()
    produce(open_one, app_name, b"open")
    produce(plain, app_name, b"behind")

    # when it stays open for longer than anybody waits, then nothing less than the whole is read
    monkeypatch.setattr(reader, "_SILENCE", 6.0)
    monkeypatch.setattr(reader, "_PATIENCE", 0.5)
    with pytest.raises(BrokerUnavailable, match=rf"an open transaction holds {app_name}\[0\] at 1"):
        there(settings, app_name)
    assert there(settings, app_name, whole=False) == [b"before"]

    # and when it ends meanwhile, the rest is read too
    monkeypatch.setattr(reader, "_SILENCE", 30.0)
    consume, silent = reader._consume, []

    def end_after_a_while(consumer: Any) -> Any:
        messages = consume(consumer)
        silent.append(not messages)
        if silent.count(True) == 3 and not messages:
            open_one.abort_transaction(10)
        return messages

    monkeypatch.setattr(reader, "_consume", end_after_a_while)
    assert there(settings, app_name) == [b"before", b"behind"]
    assert silent.count(True) >= 3


def produce(producer: Producer, topic: str, value: bytes) -> None:
    producer.produce(topic, value, partition=0)
    assert producer.flush(10) == 0
