"""Is the broker there that administrative requests go to?"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamjobs.errors import BrokerUnavailable
from streamjobs.kafka import controller
from streamjobs.kafka.controller import require_controller
from streamjobs.settings import Settings


class Client:
    """Tells of a cluster whose controller is at these ports, one answer after the other."""

    def __init__(self, *ports: int | None) -> None:
        self.ports = list(ports)

    def list_topics(self, topic: str, timeout: float) -> Any:
        port = self.ports.pop(0) if len(self.ports) > 1 else self.ports[0]
        if port is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        brokers = {} if port < 0 else {1: SimpleNamespace(host="127.0.0.1", port=port)}
        return SimpleNamespace(controller_id=1, brokers=brokers)


@pytest.fixture
def there() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def gone() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "PAUSE", 0.001)


def require(*ports: int | None) -> Client:
    client: Any = Client(*ports)
    require_controller(client, Settings(), "shop.mail")
    found: Client = client
    return found


def test_it_is_waited_for_until_it_can_be_reached(there: int, gone: int) -> None:
    # there is none known, then one that died, then the next
    assert require(-1, gone, gone, there, -1).ports == [-1]


def test_one_that_stays_away_is_told(gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "PATIENCE", 0.05)
    with pytest.raises(BrokerUnavailable, match=r"controller of the Kafka cluster at localhost"):
        require(gone)


def test_brokers_that_do_not_answer_are_told() -> None:
    with pytest.raises(BrokerUnavailable, match="no answer from Kafka"):
        require(None)
