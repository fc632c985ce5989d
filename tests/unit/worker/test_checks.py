"""What a worker refuses to start with that is no topic's fault."""

from __future__ import annotations

from typing import Any

import pytest

from streamjobs import App
from streamjobs.errors import AuthenticationError, TopicsError
from streamjobs.kafka.admin import GroupLimits, TopicInfo
from streamjobs.kafka.plan import Plan
from streamjobs.kafka.rights import DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE, Needs
from streamjobs.topics import TopicSpec
from streamjobs.worker.checks import check
from streamjobs.worker.source import Source


class Brokers:
    """Topics as they have to be, on brokers that keep ``room`` bytes beside an offset."""

    embedded = False

    def __init__(
        self, room: int | None, plan: Plan | None = None, minutes: int | None = None
    ) -> None:
        self.limits, self._plan = GroupLimits(room, minutes), plan or Plan()
        self.rights: list[str] = []

    def topics(self, _: object) -> dict[str, TopicInfo]:
        return {"shop.mail": TopicInfo(8, "id")}

    def denied(self, needs: Needs, group: str) -> list[str]:
        self.needs, self.group = needs, group
        return self.rights

    def group_limits(self) -> GroupLimits:
        return self.limits

    def plan(self, specs: list[TopicSpec]) -> Plan:
        assert specs[0].name == "shop.schemas"
        return self._plan


def checked(admin: Any, *, skip: bool = False, **more: Any) -> Any:
    app = App("shop", bootstrap_servers="nowhere:1")
    queue = app.queue("mail", retention="30d")
    store: Any = None
    source = Source("shop", app.registry, app.settings, app.prefix, store, lambda call: call)
    return check(admin, queue, source, skip=skip, **more)


def test_brokers_that_keep_too_little_beside_an_offset_are_refused() -> None:
    with pytest.raises(TopicsError, match=r"offset\.metadata\.max\.bytes=2000, .* may need 4096"):
        checked(Brokers(2_000))


@pytest.mark.parametrize("room", [4_096, 100_000, None])
def test_brokers_that_keep_enough_or_do_not_say_are_fine(room: int | None) -> None:
    assert checked(Brokers(room)).partitions == 8


@pytest.mark.parametrize(("days", "told"), [(7, True), (30, False), (31, False), (None, False)])
def test_that_brokers_forget_a_group_before_its_jobs_is_said_once_at_the_start(
    caplog: pytest.LogCaptureFixture, days: int | None, *, told: bool
) -> None:
    brokers = Brokers(None, minutes=None if days is None else days * 24 * 60)
    checked(brokers)
    assert caplog.text == ""

    checked(brokers, starts=True)
    assert ("keeps jobs for 30d, and brokers forget" in caplog.text) is told
    assert ("after 7d: without any worker of group shop.mail" in caplog.text) is told


def test_only_added_partitions_are_skipped_where_that_is_asked_for() -> None:
    # given partitions that were added, and another problem
    plan = Plan(problems=("added", "other"), added=("added",))
    for skip, told in ((False, "added\nother"), (True, "other")):
        with pytest.raises(TopicsError) as error:
            checked(Brokers(None, plan), skip=skip)
        assert str(error.value) == told
    # then nothing is left to refuse when that one is mended
    added = Plan(problems=("added",), added=("added",))
    assert checked(Brokers(None, added), skip=True).partitions == 8


def test_rights_that_are_missing_are_told_before_what_they_hide() -> None:
    # given topics that may not be seen, so that they seem not to be there
    brokers = Brokers(None, Plan(problems=("not there",)))
    brokers.rights = ["no right to DESCRIBE", "no right to READ"]
    # then the rights are told, all of them, and not the topics
    with pytest.raises(AuthenticationError) as error:
        checked(brokers)
    assert str(error.value) == "no right to DESCRIBE\nno right to READ"
    # and what a worker does is asked for, with what it compares at its start
    assert brokers.group == "shop.mail"
    tiers = [topic for topic in brokers.needs if topic.startswith("shop.mail.retry.")]
    assert tiers
    expected = {topic: {READ, WRITE} for topic in tiers}
    expected |= {"shop.mail": {READ}, "shop.mail.dlq": {WRITE}, "shop.schemas": {READ}}
    expected["shop.mail.marks"] = {DESCRIBE}
    assert brokers.needs == {topic: {*x, DESCRIBE_CONFIGS} for topic, x in expected.items()}
