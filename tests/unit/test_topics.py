"""The names of a queue's topics, with priorities and without."""

from __future__ import annotations

import pytest

from streamjobs.errors import DefinitionError
from streamjobs.topics import QueueTopics


def test_without_priorities_there_is_one_main_topic() -> None:
    topics = QueueTopics("shop", "mail")

    assert topics.mains == ("shop.mail",)
    assert topics.main == topics.main_of(None) == "shop.mail"
    with pytest.raises(DefinitionError, match=r"priority='high': queue 'mail' has no priorities"):
        topics.main_of("high")


def test_main_topics_come_most_urgent_first() -> None:
    topics = QueueTopics("shop", "mail", ("high", "normal", "low"))

    assert topics.mains == ("shop.mail.high", "shop.mail.normal", "shop.mail.low")
    assert [topics.main_of(p) for p in topics.priorities] == list(topics.mains)
    assert (topics.group, topics.dlq) == ("shop.mail", "shop.mail.dlq")
    assert (topics.marks, topics.requeue_id) == ("shop.mail.marks", "shop.mail.requeue")
    assert topics.tier(1) == "shop.mail.retry.1s"
    assert topics.tiers_among([*topics.mains, topics.dlq, "shop.mail.retry.1s"]) == {
        "shop.mail.retry.1s": 1.0
    }
    with pytest.raises(DefinitionError, match="priority='hi': queue 'mail' has high, normal, low"):
        topics.main_of("hi")


@pytest.mark.parametrize(
    ("priorities", "default"),
    [
        (("high", "normal", "low"), "normal"),
        (("normal", "low"), "normal"),
        (("a", "b", "c"), "b"),
        (("a", "b"), "b"),
        (("a", "b", "c", "d"), "c"),
        (("only",), "only"),
    ],
)
def test_a_call_that_names_none_gets_normal_or_the_middle_one(
    priorities: tuple[str, ...], default: str
) -> None:
    assert QueueTopics("shop", "mail", priorities).main == f"shop.mail.{default}"
