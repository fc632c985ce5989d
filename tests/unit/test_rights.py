"""What is said of rights, by what a broker tells of topics and groups."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamjobs.errors import AuthenticationError
from streamjobs.kafka import rights
from streamjobs.kafka.rights import DESCRIBE, READ, WRITE
from streamjobs.settings import Settings

NEEDS = {"shop.mail": {READ}, "shop.mail.dlq": {WRITE}}
Told = list[Any] | int


class Client:
    """Answers with what is allowed, or with an error of this code."""

    def __init__(self, topics: dict[str, Told], group: Told) -> None:
        self.topics, self.group = topics, group

    def describe_topics(self, _: Any, **__: Any) -> dict[str, Future[Any]]:
        return {name: future(told) for name, told in self.topics.items()}


def future(told: Told) -> Future[Any]:
    answer: Future[Any] = Future()
    if isinstance(told, int):
        answer.set_exception(KafkaException(KafkaError(told)))
    else:
        answer.set_result(SimpleNamespace(authorized_operations=told))
    return answer


@pytest.fixture(autouse=True)
def coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "is_coordinated", lambda *_: True)


def asked(topics: dict[str, Told], group: Told) -> list[str]:
    client: Any = Client(topics, group)

    def describe(_: Settings, __: str, ___: float, *, rights: bool) -> Any:
        assert rights
        return future(group).result()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rights, "describe_group", describe)
        found = rights.denied(client, Settings(), NEEDS, "shop.mail")
    return [sentence.partition(":")[0] for sentence in found]


ALL: Told = [DESCRIBE, READ, WRITE]


def test_what_is_allowed_is_fine_and_so_is_what_is_not_told() -> None:
    assert asked({"shop.mail": ALL, "shop.mail.dlq": ALL}, ALL) == []
    assert asked({"shop.mail": [], "shop.mail.dlq": []}, []) == []


def test_each_right_that_is_missing_is_named_with_what_it_is_for() -> None:
    topics: dict[str, Told] = {"shop.mail": [DESCRIBE, WRITE], "shop.mail.dlq": [DESCRIBE, READ]}
    assert asked(topics, [DESCRIBE]) == [
        "no right to READ topic shop.mail",
        "no right to WRITE topic shop.mail.dlq",
        "no right to READ group shop.mail",
    ]


def test_what_may_not_even_be_asked_for_is_named_too() -> None:
    topics: dict[str, Told] = {
        "shop.mail": KafkaError.TOPIC_AUTHORIZATION_FAILED,
        "shop.mail.dlq": KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
    assert asked(topics, KafkaError.GROUP_AUTHORIZATION_FAILED) == [
        "no right to DESCRIBE topic shop.mail",
        "no right to DESCRIBE group shop.mail",
    ]


def test_a_coordinator_that_is_away_hides_no_topic_and_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics: dict[str, Told] = {"shop.mail": [DESCRIBE]}
    away = KafkaError.COORDINATOR_NOT_AVAILABLE
    assert asked(topics, away) == ["no right to READ topic shop.mail"]

    monkeypatch.setattr(rights, "is_coordinated", lambda *_: False)
    assert asked(topics, ALL) == ["no right to READ topic shop.mail"]


def test_credentials_that_are_refused_are_an_error() -> None:
    with pytest.raises(AuthenticationError):
        asked({"shop.mail": KafkaError._AUTHENTICATION}, ALL)


def test_a_sentence_has_the_command_that_grants_the_right() -> None:
    said = rights.lacking(rights.DESCRIBE_CONFIGS, "topic", "shop.mail")
    assert "--operation DescribeConfigs --topic shop.mail (" in said


def test_where_brokers_do_not_answer_any_of_the_topics_may_be_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client({"a": KafkaError._TRANSPORT, "b": KafkaError._TRANSPORT}, ALL)
    monkeypatch.setattr(rights, "AdminClient", lambda _: client)
    assert set(rights.refused_topics(Settings(), {"a", "b"})) == {"a", "b"}

    client.topics = {"a": [DESCRIBE], "b": ALL}
    assert set(rights.refused_topics(Settings(), {"a", "b"})) == {"a"}
