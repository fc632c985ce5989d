"""What a queue may be declared with, and which topics that makes."""

from __future__ import annotations

from typing import Any

import pytest

from streamjobs.breaker import Breaker
from streamjobs.errors import DefinitionError
from streamjobs.registry import Registry
from streamjobs.retry import Retry

PRIORITIES = ("high", "normal", "low")


@pytest.fixture
def registry() -> Registry:
    return Registry("shop")


def test_a_queue_has_no_priorities_and_keeps_order_per_key_unless_told(registry: Registry) -> None:
    queue = registry.add_queue("mail")

    assert (queue.priorities, queue.ordering, queue.retry.immediate) == ((), "key", 0)
    assert queue.topics("shop").mains == ("shop.mail",)


def test_a_queue_is_what_was_said(registry: Registry) -> None:
    retry = Retry(delays=("1s",), immediate=2)
    queue = registry.add_queue("mail", retry=retry, priorities=["a", "b-2"], ordering="none")

    assert (queue.priorities, queue.ordering) == (("a", "b-2"), "none")
    assert queue.retry.immediate == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"priorities": ("High",)}, r"queue 'mail': priority name 'High': use lower-case"),
        ({"priorities": ("a.b",)}, r"'a\.b'"),
        ({"priorities": ("",)}, "''"),
        ({"priorities": ("high", 7)}, "7"),
        ({"priorities": ("high", "retry")}, r"'retry' is reserved .* choose another"),
        ({"priorities": ("dlq",)}, "'dlq' is reserved"),
        ({"priorities": ("marks",)}, "'marks' is reserved"),
        ({"priorities": ("high", "low", "high")}, "priority 'high' is there twice"),
        ({"priorities": "high"}, r"must be a tuple of names"),
        ({"priorities": {"high", "low"}}, r"must be a tuple of names"),
        ({"priorities": 3}, r"priorities=3, must be a tuple"),
        ({"ordering": "keys"}, r"ordering='keys', must be one of 'key', 'none', 'partition'"),
        ({"ordering": None}, r"ordering=None"),
        ({"retry": 3}, r"queue 'mail': retry=3, must be Retry\(…\), or None"),
        ({"breaker": True}, r"queue 'mail': breaker=True, must be Breaker\(…\), or None"),
    ],
)
def test_what_cannot_be_is_named_and_leaves_nothing_behind(
    registry: Registry, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        registry.add_queue("mail", **options)
    assert registry.queues == {}


@pytest.mark.parametrize("immediate", [-1, 101, True, 1.0, "3", None])
def test_immediate_tries_are_0_to_100(immediate: Any) -> None:
    with pytest.raises(DefinitionError, match=r"immediate=.*must be 0 to 100"):
        Retry(immediate=immediate)
    assert [Retry(immediate=n).immediate for n in (0, 100)] == [0, 100]
    assert Retry(immediate=1) != Retry()


@pytest.mark.parametrize(
    "options",
    [
        *({"share": share} for share in (0, -0.1, 1.01, True, "0.9", None, float("nan"))),
        *({"outcomes": outcomes} for outcomes in (0, -1, 1_000_001, 2.0, True, None)),
        *({"within": within} for within in (0, "0s", "soon", None, True, -1, float("inf"))),
        *({"probe_every": every} for every in (0, "0s", "soon", None, True, "1")),
    ],
)
def test_a_breaker_says_which_of_its_values_cannot_be(options: dict[str, Any]) -> None:
    ((name, _),) = options.items()
    with pytest.raises(DefinitionError, match=f"breaker {name}="):
        Breaker(**options)


def test_a_queue_has_a_breaker_unless_told(registry: Registry) -> None:
    own = Breaker(share=1, outcomes=5, within=3, probe_every="250ms")
    queues = [registry.add_queue("a"), registry.add_queue("b", breaker=own)]
    queues.append(registry.add_queue("c", breaker=None))

    assert [queue.breaker for queue in queues] == [Breaker(), own, None]
    assert (own.share, own.outcomes, own.within, own.probe_every) == (1.0, 5, 3.0, 0.25)
    usual = Breaker()
    assert (usual.share, usual.outcomes, usual.within, usual.probe_every) == (0.9, 200, 60.0, 5.0)


def test_each_priority_has_a_main_topic_and_they_share_the_rest(registry: Registry) -> None:
    # Given a queue with priorities beside one that is named like one of them
    retry = Retry(delays=("1s",))
    mail = registry.add_queue("mail", partitions=4, retry=retry, priorities=PRIORITIES)
    registry.add_queue("high", partitions=2, retry=retry)

    # When its topics are asked for
    specs = {spec.name: spec for spec in registry.topic_specs("shop")}

    # Then each knows its queue, and those of one queue have one partition count
    mine = [name for name, spec in specs.items() if spec.queue == mail.topics("shop")]
    assert mine == [
        "shop.mail.high",
        "shop.mail.normal",
        "shop.mail.low",
        "shop.mail.retry.1s",
        "shop.mail.dlq",
        "shop.mail.marks",
    ]
    assert {specs[name].partitions for name in mine} == {4}
    assert specs["shop.high"].partitions == 2
    assert specs["shop.schemas"].queue is None
    assert len({tuple(specs[name].config.items()) for name in mine[:3]}) == 1


@pytest.mark.parametrize("delays", ["1s", 5, {"1s", "10s"}])
def test_delays_are_a_tuple(delays: Any) -> None:
    with pytest.raises(DefinitionError, match="must be a tuple of delays"):
        Retry(delays=delays)


@pytest.mark.parametrize("delays", [(1.00005,), ("1s", 10.0001234)])
def test_a_delay_that_no_topic_can_be_named_after_is_refused_when_declared(delays: Any) -> None:
    with pytest.raises(DefinitionError, match="no whole number of milliseconds"):
        Retry(delays=delays)


def test_names_longer_than_kafka_takes_are_refused_when_declared(registry: Registry) -> None:
    # given the longest priority whose topic Kafka takes, shop.mail.PRIORITY
    fits = "p" * (249 - len("shop.mail."))
    registry.add_queue("mail", priorities=(fits,))
    # then one more is refused, and so is a queue whose retry topics do not fit
    with pytest.raises(DefinitionError, match="has 250 characters, and Kafka takes 249"):
        registry.add_queue("news", priorities=(fits + "p",))
    with pytest.raises(DefinitionError, match=r"its topic shop\.q+\.retry"):
        registry.add_queue("q" * (249 - len("shop.")))
    assert list(registry.queues) == ["mail"]
