"""The properties every client gets."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from streamjobs.errors import (
    AuthenticationError,
    BrokerUnavailable,
    EnqueueError,
    SettingsError,
    TopicsError,
)
from streamjobs.kafka.config import (
    admin_config,
    check_properties,
    consumer_config,
    producer_config,
    silent,
    transactional_extra,
)
from streamjobs.kafka.failures import translate
from streamjobs.settings import Settings, load_settings

CANARY = "c4n4ry-p4ssw0rd"


def test_producers_lose_and_reorder_nothing() -> None:
    config = producer_config(Settings(), transactional_id="shop.mail.x")

    assert config["enable.idempotence"] == "true"
    assert config["acks"] == "all"
    assert config["partitioner"] == "murmur2_random"
    assert config["transactional.id"] == "shop.mail.x"
    assert config["bootstrap.servers"] == "localhost:9092"


@pytest.mark.parametrize(
    "kafka",
    [
        {"socket.timeout.ms": 60_000},
        {"delivery.timeout.ms": 120_000},
        {"message.timeout.ms": 120_000},
        {"linger.ms": 14_000},
    ],
)
def test_whatever_else_is_set_a_producer_of_transactions_can_be_had(kafka: dict[str, int]) -> None:
    # librdkafka wants all of these below the time of a transaction
    settings = load_settings({}, kafka=kafka)
    check_properties(settings)

    config = producer_config(settings, **transactional_extra(settings, "shop.mail.x"))
    Producer({**config, "bootstrap.servers": ""}, logger=silent)
    assert "message.timeout.ms" not in config


def test_consumers_commit_nothing_by_themselves() -> None:
    config = consumer_config(Settings(), "shop.mail")

    assert config["group.id"] == "shop.mail"
    assert config["auto.offset.reset"] == "earliest"
    assert config["enable.auto.offset.store"] == "false"
    assert config["enable.auto.commit"] == "false"
    assert config["isolation.level"] == "read_committed"
    assert config["enable.partition.eof"] == "true"


def test_both_group_protocols_assign_by_range() -> None:
    classic = consumer_config(Settings(), "g")
    kip_848 = consumer_config(
        load_settings({}, kafka={"session.timeout.ms": 7000}), "g", group_protocol="consumer"
    )

    assert classic["group.protocol"] == "classic"
    assert classic["partition.assignment.strategy"] == "range"
    assert classic["session.timeout.ms"] == "15000"
    assert classic["heartbeat.interval.ms"] == "500"
    assert "heartbeat.interval.ms" not in kip_848
    assert kip_848["group.protocol"] == "consumer"
    assert kip_848["group.remote.assignor"] == "range"
    assert "session.timeout.ms" not in kip_848


def test_the_users_properties_win_over_ours_and_a_clients_own_over_those() -> None:
    settings = load_settings({}, kafka={"fetch.wait.max.ms": 50, "client.id": "me"})

    config = consumer_config(settings, "g", isolation_level="read_uncommitted", client_id="probe")

    assert config["fetch.wait.max.ms"] == "50"
    assert config["client.id"] == "probe"
    assert config["isolation.level"] == "read_uncommitted"
    assert admin_config(settings)["client.id"] == "me"


def test_callbacks_keep_their_names() -> None:
    assert admin_config(Settings(), error_cb=print)["error_cb"] is print


def test_properties_librdkafka_does_not_know_are_all_named() -> None:
    settings = load_settings(
        {}, kafka={"no.such.thing": "1", "linger.ms": "soon", "sasl.password": CANARY}
    )

    with pytest.raises(SettingsError) as caught:
        check_properties(settings)

    assert len(caught.value.problems) == 2
    assert "no.such.thing" in caught.value.problems[0]
    assert "linger.ms" in caught.value.problems[1]
    assert CANARY not in str(caught.value)


def test_properties_that_do_not_go_together_are_found() -> None:
    settings = load_settings({}, kafka={"security.protocol": "ssl", "ssl.ca.location": "/nowhere"})

    with pytest.raises(SettingsError, match=r"ssl\.ca\.location"):
        check_properties(settings)


def test_properties_that_only_work_together_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(
        {},
        kafka={
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "me",
            "sasl.password": CANARY,
            "fetch.wait.max.ms": 10,
        },
    )

    with caplog.at_level(logging.DEBUG):
        check_properties(settings)

    assert not caplog.records


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (KafkaError._AUTHENTICATION, AuthenticationError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AuthenticationError),
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnavailable),
        (KafkaError._TIMED_OUT, BrokerUnavailable),
        (KafkaError._UNKNOWN_TOPIC, TopicsError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicsError),
        (KafkaError.POLICY_VIOLATION, EnqueueError),
    ],
)
def test_kafkas_errors_are_told_in_our_words(code: int, error: type[Exception]) -> None:
    settings = load_settings({}, bootstrap_servers="broker:9092", kafka={"sasl.password": CANARY})

    told = translate(KafkaException(KafkaError(code)), "sending to shop.mail", settings)

    assert type(told) is error
    assert str(told).startswith("sending to shop.mail: ")
    assert CANARY not in str(told)
