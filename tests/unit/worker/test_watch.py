"""What is said of topics that are not what a worker began with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from unit.engine.drive import LONG, MAIN, SHORT, TOPICS

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.outbox import Partition
from streamjobs.errors import AuthenticationError, BrokerUnavailable
from streamjobs.kafka.admin import Admin, TopicInfo
from streamjobs.kafka.rights import Needs
from streamjobs.settings import Settings
from streamjobs.topics import schemas_topic
from streamjobs.worker import watch as watch_module
from streamjobs.worker.watch import TopicWatch, compare, topics_of

LADDER = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), partitions=4)


SCHEMAS = schemas_topic(TOPICS.prefix)


def there(**counts: int) -> dict[str, TopicInfo]:
    """All topics with four partitions, but for those named; with 0 it is not there."""
    named = {SCHEMAS: counts.get("schemas", 1)}
    named |= {topic: counts.get(topic.rsplit(".", 1)[1], 4) for topic in topics_of(LADDER)}
    return {topic: TopicInfo(count, "id") for topic, count in named.items() if count}


class Broker:
    """Answers in turn."""

    def __init__(self, *answers: dict[str, TopicInfo]) -> None:
        self.answers = list(answers)
        self.rights: list[list[str]] = []
        self.groups: list[str | None] = []
        self.given: list[set[Partition] | None] = []

    def denied(self, needs: Needs, group: str | None) -> list[str]:
        assert list(needs) == [MAIN, SHORT, LONG, TOPICS.dlq, TOPICS.marks, SCHEMAS]
        self.groups.append(group)
        return self.rights.pop(0) if self.rights else []

    def given_to(self, group: str, topic: str, process: str) -> set[Partition] | None:
        assert (group, topic, process) == (TOPICS.group, MAIN, "0123")
        return self.given.pop(0)

    def described(self, names: Sequence[str]) -> dict[str, TopicInfo]:
        assert names == [*topics_of(LADDER), SCHEMAS]
        return self.answers.pop(0)


def test_topics_as_they_were_are_fine() -> None:
    assert compare(LADDER, there()) == ()


def test_partitions_added_to_main_are_told_with_what_it_means_and_the_way_out() -> None:
    (said,) = compare(LADDER, there(mail=6))
    for part in (MAIN, "6 partitions", "may overtake", "nothing is lost", "set partitions=6"):
        assert part in said


@pytest.mark.parametrize("count", [1, 9])
def test_another_count_of_another_topic_is_told(count: int) -> None:
    (said,) = compare(LADDER, there(dlq=count))
    assert f"{TOPICS.dlq} has {count} partition" in said
    assert "a worker that starts now refuses" in said


@pytest.mark.parametrize("topic", topics_of(LADDER))
def test_a_topic_that_is_gone_is_told_whichever_it_is(topic: str) -> None:
    left = there()
    del left[topic]
    assert compare(LADDER, left) == (
        f"topic {topic} is not there: streamjobs -A module:app topics apply",
    )


def test_each_is_logged_once_and_kept_until_it_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    # given a watch, and a tier that is gone for two looks, and the schemas for another
    watch = TopicWatch(Settings(), lambda _: None)
    watch.watch(LADDER)
    gone = there(**{"1s": 0})
    admin: Any = Broker(there(), gone, gone, there(), there(schemas=0))
    seen = []
    for _ in range(5):
        watch.look(admin)
        seen.append(len(watch.problems("mail")))
    # then it is wrong for as long, and told once
    assert seen == [0, 1, 1, 0, 1]
    assert watch.problems("mail") == (
        f"topic {SCHEMAS} is not there: streamjobs -A module:app topics apply",
    )
    assert caplog.text.count(f"topic {SHORT} is not there") == 1
    assert caplog.text.count("as they must be again") == 1


@pytest.mark.parametrize("anew", [MAIN, LONG])
def test_a_topic_that_was_made_anew_is_told_when_all_are_there(anew: str) -> None:
    # given a ladder whose topics have ids, and one of them that was deleted and made again
    ladder = replace(LADDER, topic_ids=dict.fromkeys((MAIN, SHORT, LONG), "id"))
    told: list[str] = []
    watch = TopicWatch(Settings(), told.append)
    watch.watch(ladder)
    later = {**there(), anew: TopicInfo(4, "another")}
    gone = {**later}
    del gone[TOPICS.dlq]
    admin: Any = Broker(there(), gone, later)
    # when it is looked at, then its queue has to join again once all of its topics are there
    seen = []
    for _ in range(3):
        watch.look(admin)
        seen.append(len(told))
    assert seen == [0, 0, 1]


def test_a_right_that_is_missing_is_a_problem_until_it_is_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # given a watch, and a right that is missing for two looks, which hide the topics
    watch = TopicWatch(Settings(), lambda _: None)
    watch.watch(LADDER)
    broker = Broker(there(), there())
    broker.rights = [[], ["no right to READ"], ["no right to READ"], []]
    admin: Any = broker
    seen = []
    for turn in range(4):
        if turn == 1:
            watch.look_now()
        watch.look(admin)
        seen.append(watch.problems("mail"))
    # then it is one for as long, and told once; the group is asked about when there is a reason
    assert broker.groups == [None, TOPICS.group, TOPICS.group, TOPICS.group]
    assert seen == [(), ("no right to READ",), ("no right to READ",), ()]
    assert caplog.text.count("no right to READ") == 1
    assert caplog.text.count("as they must be again") == 1


@pytest.mark.parametrize("refusal", [AuthenticationError("refused"), None])
def test_who_is_denied_something_has_it_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception | None
) -> None:
    # given a watch that looks at the topics once a minute, of a broker that refuses us, or a right
    looked = threading.Event()

    def look(watch: TopicWatch, _: Admin) -> None:
        looked.set()
        if refusal is not None:
            raise refusal
        watch._tell("mail", ("refused",))

    monkeypatch.setattr(watch_module, "LOOK_EVERY", 60.0)
    monkeypatch.setattr(watch_module, "LOOK_AGAIN", 0.01)
    monkeypatch.setattr(TopicWatch, "look", look)
    monkeypatch.setattr(Admin, "embedded", False)
    watch = TopicWatch(Settings(), lambda _: None)
    watch.watch(LADDER)
    watch.start()
    assert not looked.is_set()

    # when somebody is denied something, then it is looked at, and it is a problem
    watch.look_now()
    assert looked.wait(5)
    # and it is looked at again soon
    looked.clear()
    assert looked.wait(5)
    assert watch.problems("mail") == ("refused",)
    watch.stop()
    watch._thread.join(5)
    assert not watch._thread.is_alive()


def test_brokers_that_do_not_answer_are_told_once_until_they_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a watch whose broker does not answer twice, each time in other words, and then does
    answers: list[Exception | None] = [BrokerUnavailable("no answer, 1"), BrokerUnavailable("2")]
    seen: list[tuple[str, ...]] = []

    def look(watch: TopicWatch, _: Admin) -> None:
        seen.append(watch.problems("mail"))
        if answers and (refusal := answers.pop(0)) is not None:
            raise refusal
        watch._tell("mail", ())
        if len(seen) == 4:
            watch.stop()

    monkeypatch.setattr(watch_module, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(TopicWatch, "look", look)
    monkeypatch.setattr(Admin, "embedded", False)
    watch = TopicWatch(Settings(), lambda _: None)
    watch.watch(LADDER)

    # when it looks, then that is a problem as long, and told once
    watch.start()
    watch._thread.join(10)
    assert seen == [(), ("no answer, 1",), ("no answer, 1",), ()]
    assert caplog.text.count("no answer") == 1
    assert caplog.text.count("as they must be again") == 1


def test_what_the_client_has_missed_for_two_looks_is_told_and_the_group_joined_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # given a client that is given a partition late, another one never, and a broker that once
    # does not tell
    joined: list[str] = []
    mine: set[Partition] = {(MAIN, 0)}
    watch = TopicWatch(Settings(), joined.append, "0123", lambda queue: set(mine))
    watch.watch(LADDER)
    broker = Broker(*[there()] * 6)
    late, never = {(MAIN, 0), (MAIN, 1)}, {(MAIN, 0), (MAIN, 1), (SHORT, 2)}
    broker.given = [late, never, None, never, never, never]
    admin: Any = broker
    seen = []
    for turn in range(6):
        if turn == 1:
            mine.add((MAIN, 1))
        watch.look(admin)
        seen.append(len(joined))

    # when it is looked at, then it joins again once it was missed twice, and not again at once
    assert seen == [0, 0, 0, 1, 1, 2]
    assert f"has given it {SHORT}[2] for a while" in caplog.text
