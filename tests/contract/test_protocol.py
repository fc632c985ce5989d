"""Which group protocol is taken for what a broker answers, or does not."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from confluent_kafka import KafkaError, cimpl

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka import protocol
from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.protocol import resolve_protocol
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import TopicSpec

# Numbers of requests in Kafka's protocol.
FIND_COORDINATOR, CONSUMER_GROUP_HEARTBEAT = 10, 68
MANY = 10_000


class Mock:
    """The broker inside librdkafka, which can be told what to answer."""

    def __init__(self, broker: Any, topic: str) -> None:
        broker.create_topics([TopicSpec(topic, 1)])
        self.settings: Settings = load_settings({}, bootstrap_servers=broker.bootstrap)
        self.topic, self._cluster = topic, ctypes.c_void_p(broker._cluster)
        self._library = ctypes.CDLL(cimpl.__file__)

    def fails(self, request: int, code: int) -> None:
        codes = (ctypes.c_int * MANY)(*[code] * MANY)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(MANY), codes
        )

    def does_not_know(self, request: int) -> None:
        none = ctypes.c_int16(-1)
        self._library.rd_kafka_mock_set_apiversion(
            self._cluster, ctypes.c_int16(request), none, none
        )

    def resolve(self) -> str:
        return resolve_protocol(self.settings, self.topic)


@pytest.fixture
def mock(embedded_broker: Broker, app_name: str, monkeypatch: pytest.MonkeyPatch) -> Mock:
    monkeypatch.setattr(protocol, "PROBE_TIMEOUT", 10.0)
    monkeypatch.setattr(protocol, "CLASSIC_TIMEOUT", 10.0)
    monkeypatch.setattr(protocol, "AGAIN_TIMEOUT", 1.0)
    return Mock(embedded_broker, app_name)


def test_one_that_has_the_newer_protocol(mock: Mock) -> None:
    assert mock.resolve() == "consumer"


def test_one_that_has_it_switched_off(mock: Mock) -> None:
    mock.fails(CONSUMER_GROUP_HEARTBEAT, KafkaError.UNSUPPORTED_VERSION)

    assert mock.resolve() == "classic"


def test_one_that_does_not_know_it(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PROBE_TIMEOUT", 1.0)  # which is waited for to its end
    mock.does_not_know(CONSUMER_GROUP_HEARTBEAT)

    assert mock.resolve() == "classic"


def test_one_that_refuses_the_group_by_which_it_is_asked(
    mock: Mock, caplog: pytest.LogCaptureFixture
) -> None:
    mock.fails(CONSUMER_GROUP_HEARTBEAT, KafkaError.GROUP_AUTHORIZATION_FAILED)

    assert mock.resolve() == "classic"
    assert f"allow the prefix {mock.topic}.probe." in caplog.text


def test_one_whose_coordinator_is_away_is_taken_for_none_of_these(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PROBE_TIMEOUT", 1.0)  # both are waited for to their ends
    monkeypatch.setattr(protocol, "CLASSIC_TIMEOUT", 1.0)
    mock.fails(FIND_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE)

    with pytest.raises(BrokerUnavailable, match="its group coordinator does not answer"):
        mock.resolve()
