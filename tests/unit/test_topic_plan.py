"""What the plan makes of the topics there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from streamjobs.kafka.plan import (
    Alter,
    Create,
    Grow,
    OldMain,
    TopicState,
    concerned,
    make_plan,
    old_mains,
)
from streamjobs.topics import QueueTopics, TopicSpec, queue_specs, schemas_spec

QUEUE = QueueTopics("shop", "mail")
SPECS = [schemas_spec("shop"), *queue_specs(QUEUE, partitions=4, delays=[1, 10])]


def as_wanted(specs: list[TopicSpec] = SPECS) -> dict[str, TopicState]:
    return {s.name: TopicState(s.name, s.partitions, "id", s.config) for s in specs}


def changed(name: str, config: Mapping[str, str]) -> dict[str, TopicState]:
    there = as_wanted()
    there[name] = replace(there[name], config={**there[name].config, **config})
    return there


def test_what_is_as_wanted_needs_nothing() -> None:
    plan = make_plan(SPECS, as_wanted())
    assert (plan.steps, plan.problems, plan.old_tiers) == ((), (), ())


def test_everything_is_created_on_an_empty_broker() -> None:
    plan = make_plan(SPECS, {})
    assert plan.steps == tuple(Create(s.name, s.partitions, s.config) for s in SPECS)
    assert len(plan.problems) == len(SPECS)
    assert all("streamjobs -A module:app topics apply" in p for p in plan.problems)


def test_a_missing_tier_is_created_with_its_settings() -> None:
    there = as_wanted()
    del there["shop.mail.retry.10s"]
    (step,) = make_plan(SPECS, there).steps
    assert isinstance(step, Create)
    assert step.topic == "shop.mail.retry.10s"
    assert step.config["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    ("topic", "setting", "have"),
    [
        ("shop.mail.retry.1s", "cleanup.policy", "compact"),
        ("shop.mail.retry.1s", "cleanup.policy", "compact,delete"),
        ("shop.schemas", "cleanup.policy", "delete"),
        ("shop.mail.retry.1s", "message.timestamp.type", "CreateTime"),
        ("shop.mail.retry.10s", "retention.ms", "60000"),
        ("shop.mail", "retention.ms", "60000"),
        ("shop.mail", "retention.bytes", "1000000"),
        ("shop.mail.dlq", "max.message.bytes", "1048588"),
        ("shop.mail.marks", "cleanup.policy", "delete"),
        ("shop.mail.marks", "cleanup.policy", "compact,delete"),
    ],
)
def test_a_wrong_setting_is_altered_and_refused_by_workers(
    topic: str, setting: str, have: str
) -> None:
    plan = make_plan(SPECS, changed(topic, {setting: have}))
    (step,) = plan.steps
    assert isinstance(step, Alter)
    assert (step.topic, list(step.config), step.before) == (topic, [setting], {setting: have})
    (problem,) = plan.problems
    assert all(
        part in problem for part in (topic, setting, have, "streamjobs -A module:app topics apply")
    )


@pytest.mark.parametrize(
    ("topic", "setting", "have"),
    [
        ("shop.mail", "retention.ms", "99999999999"),
        ("shop.mail", "retention.ms", "-1"),
        ("shop.mail.retry.1s", "retention.ms", "-1"),
        ("shop.mail.dlq", "max.message.bytes", "9999999"),
    ],
)
def test_keeping_more_than_asked_is_never_cut_back(topic: str, setting: str, have: str) -> None:
    plan = make_plan(SPECS, changed(topic, {setting: have}))
    assert (plan.steps, plan.problems) == ((), ())


def test_what_main_takes_its_tiers_and_dlq_have_to_take_with_headers() -> None:
    # given a main topic whose limit somebody has raised, and a tier of an older release
    there = changed("shop.mail", {"max.message.bytes": "5000000"})
    there |= as_wanted(queue_specs(QUEUE, partitions=4, delays=[60])[1:2])
    plan = make_plan(SPECS, there)
    # then all that its jobs may be moved to has to follow, with room for headers
    ends = ("retry.1s", "retry.10s", "dlq", "retry.1m")
    assert [step.topic for step in plan.steps] == [f"shop.mail.{end}" for end in ends]
    limits = [step.config for step in plan.steps if isinstance(step, Alter)]
    assert limits == [{"max.message.bytes": "5065536"}] * 4
    assert all("must be at least 5065536" in problem for problem in plan.problems)


def test_a_main_topic_that_takes_less_asks_for_no_less() -> None:
    assert make_plan(SPECS, changed("shop.mail", {"max.message.bytes": "1000"})).steps == ()


def test_another_partition_count_is_a_problem_and_no_step() -> None:
    # given a queue made with 8 partitions, and code that says 4
    there = {
        name: replace(state, partitions=8 if name != "shop.schemas" else 1)
        for name, state in as_wanted().items()
    }
    plan = make_plan(SPECS, there)
    # then each topic of it is told
    assert plan.steps == ()
    assert len(plan.problems) == len(SPECS) - 1
    assert all("has 8 partitions, the app says 4" in problem for problem in plan.problems)
    assert all("set partitions=8" in problem for problem in plan.problems)


def grown_main(count: int = 8) -> dict[str, TopicState]:
    there = as_wanted()
    there["shop.mail"] = replace(there["shop.mail"], partitions=count)
    return there


def test_partitions_that_were_added_to_main_are_told_with_the_way_out() -> None:
    # given a main topic to which somebody added partitions
    plan = make_plan(SPECS, grown_main())
    # then that is the problem, and its queue's other topics are none
    (problem,) = plan.problems
    assert plan.added == plan.problems
    assert "topic shop.mail has 8 partitions, and queue 'mail' 4: partitions were added" in problem
    for part in ("partitions 0 to 3", "'worker -q mail --drain --old-partitions'", "partitions=8"):
        assert part in problem
    assert plan.steps == ()


def test_a_missing_tier_is_made_as_the_queue_says_although_main_has_grown() -> None:
    there = grown_main()
    del there["shop.mail.retry.1s"]
    (step,) = make_plan(SPECS, there).steps
    assert isinstance(step, Create)
    assert step.partitions == 4


def test_topics_that_only_workers_write_get_the_partitions_that_main_has() -> None:
    # given code that says what main has by now, and an old tier beside it
    there = grown_main() | as_wanted(queue_specs(QUEUE, partitions=4, delays=[60])[1:2])
    specs = [schemas_spec("shop"), *queue_specs(QUEUE, partitions=8, delays=[1, 10])]
    plan = make_plan(specs, there)
    # then all the others are to grow, and nothing else is wrong
    ends = ("retry.1s", "retry.10s", "dlq", "marks", "retry.1m")
    assert plan.steps == tuple(Grow(f"shop.mail.{end}", 8, 4) for end in ends)
    assert all("has 4 partitions and needs 8; 'streamjobs" in problem for problem in plan.problems)


def test_nothing_grows_beside_main_topics_that_are_not_as_code_says() -> None:
    # given code that says neither
    specs = [schemas_spec("shop"), *queue_specs(QUEUE, partitions=6, delays=[1, 10])]
    plan = make_plan(specs, grown_main())
    # then main decides, and the others come after it
    assert plan.steps == ()
    assert "set partitions=8" in plan.problems[0]
    assert all("set partitions=8 for it" in problem for problem in plan.problems[1:])
    assert len(plan.problems) == len(SPECS) - 1


def test_nothing_is_created_beside_a_main_topic_of_another_count() -> None:
    there = {"shop.mail": TopicState("shop.mail", 8, "id", SPECS[1].config)}
    plan = make_plan(SPECS, there)
    # then the schema log alone: tiers of 4 beside a main of 8 would never be one shard
    assert [step.topic for step in plan.steps] == ["shop.schemas"]


def test_a_tier_that_code_names_no_more_is_told() -> None:
    # given the ladder of an older release
    there = as_wanted([*SPECS, *queue_specs(QUEUE, partitions=4, delays=[60])])
    # when it is compared with today's
    plan = make_plan(SPECS, there)
    # then it is still read, and nothing is done about it
    assert [(t.topic, t.group) for t in plan.old_tiers] == [("shop.mail.retry.1m", "shop.mail")]
    assert (plan.steps, plan.problems) == ((), ())


def test_a_tier_that_code_names_no_more_has_to_be_sound_still() -> None:
    there = as_wanted([*SPECS, *queue_specs(QUEUE, partitions=3, delays=[60])[1:2]])
    old = there["shop.mail.retry.1m"]
    there[old.name] = replace(old, config={**old.config, "message.timestamp.type": "CreateTime"})
    plan = make_plan(SPECS, there)
    assert plan.steps[0] == Grow("shop.mail.retry.1m", 4, 3)
    assert [step.topic for step in plan.steps] == ["shop.mail.retry.1m"] * 2
    assert any("has 3 partitions" in problem for problem in plan.problems)


def test_topics_of_other_queues_and_apps_are_left_alone() -> None:
    others = ["shop.mailing.retry.1m", "shop2.mail.retry.1m", "shop.mail.retry.soon", "shop.mail.x"]
    there = as_wanted() | {n: TopicState(n, 1, "id", {}) for n in others}
    plan = make_plan(SPECS, there)
    assert (plan.steps, plan.problems, plan.old_tiers) == ((), (), ())


URGENT = QueueTopics("shop", "mail", ("high", "low"))
BY_PRIORITY = queue_specs(URGENT, partitions=4, delays=[1])


def test_an_old_tier_of_a_queue_with_priorities_is_told_once() -> None:
    there = as_wanted([*BY_PRIORITY, *queue_specs(URGENT, partitions=4, delays=[60])])
    plan = make_plan(BY_PRIORITY, there)
    assert [(t.topic, t.group) for t in plan.old_tiers] == [("shop.mail.retry.1m", "shop.mail")]
    assert (plan.steps, plan.problems) == ((), ())


def test_priorities_are_no_queues_and_queues_named_like_them_are() -> None:
    # given the queue "mail" with a priority "high", and queues "high" and "low" with an older tier
    others = [QueueTopics("shop", "high"), QueueTopics("shop", "low")]
    specs = [
        *BY_PRIORITY,
        *(spec for queue in others for spec in queue_specs(queue, partitions=2, delays=[1])),
    ]
    old = queue_specs(others[0], partitions=2, delays=[60])
    # when there are topics that look like tiers of a priority too
    strays = ["shop.mail.high.retry.1m", "shop.mail.high.dlq"]
    there = as_wanted([*specs, *old]) | {n: TopicState(n, 9, "id", {}) for n in strays}
    plan = make_plan(specs, there)
    # then only the queue's own are looked at
    assert [(t.topic, t.group) for t in plan.old_tiers] == [("shop.high.retry.1m", "shop.high")]
    assert (plan.steps, plan.problems) == ((), ())


def test_main_topics_of_different_counts_are_told_each_with_its_mending() -> None:
    there = as_wanted(BY_PRIORITY)
    for name in ("shop.mail.low", "shop.mail.retry.1s"):
        there[name] = replace(there[name], partitions=2)
    plan = make_plan(BY_PRIORITY, there)
    assert plan.steps == ()
    assert len(plan.problems) == 2
    for name, problem in zip(("shop.mail.low", "shop.mail.retry.1s"), plan.problems, strict=True):
        assert f"topic {name} has 2 partitions and queue 'mail' otherwise 4" in problem
        assert f"kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic {name}" in problem
        assert "streamjobs -A module:app topics apply" in problem


def test_nothing_is_created_beside_any_topic_of_another_count() -> None:
    # given a tier of an older release, all that is there
    tier = next(spec for spec in BY_PRIORITY if spec.name.endswith(".1s"))
    plan = make_plan(BY_PRIORITY, {tier.name: TopicState(tier.name, 8, "id", tier.config)})
    assert plan.steps == ()
    assert "set partitions=8" in plan.problems[0]


def test_what_a_plan_looks_at() -> None:
    names = [*(spec.name for spec in BY_PRIORITY), "shop.mail.retry.1m", "shop.mail.x", "shop"]
    assert concerned(BY_PRIORITY, names) == {*names[:-2]}


# What may lie beside the topics of a queue "mail" without being a main topic of it.
NO_MAINS = [
    *("shop.mail-high", "shop.mail-high.low", "shop.mailing", "shop2.mail", "shop", "shop.high"),
    *("shop.mail.retry.1s", "shop.mail.dlq", "shop.mail.marks", "shop.mail.high.dlq"),
    *("shop.mail.retry", "shop.mail.High", "shop.mail.", "shop.mail.1s"),
]


@pytest.mark.parametrize(
    ("queue", "old"),
    [
        (QUEUE, ["shop.mail.high", "shop.mail.low", "shop.mail.normal"]),
        (URGENT, ["shop.mail", "shop.mail.normal"]),
        (QueueTopics("shop", "mail-high"), ["shop.mail-high.low"]),
        (QueueTopics("shop", "high"), []),
    ],
)
def test_main_topics_that_no_priority_names_are_found(queue: QueueTopics, old: list[str]) -> None:
    mains = ["shop.mail", "shop.mail.low", "shop.mail.normal", "shop.mail.high"]
    specs = queue_specs(queue, partitions=4, delays=[1])
    assert [main.topic for main in old_mains(specs, [*mains, *NO_MAINS])] == old


def test_unread_jobs_are_a_problem_and_none_are_a_note() -> None:
    plan = make_plan(BY_PRIORITY, as_wanted(BY_PRIORITY))
    mains = [OldMain("shop.mail", URGENT, waiting=3), OldMain("shop.mail.mid", URGENT, waiting=0)]
    (problem,) = plan.with_old_mains(mains).problems
    assert "topic shop.mail holds up to 3 jobs of queue 'mail'" in problem
    assert "its priorities are now high, low" in problem
    assert "'worker -q mail --drain'" in problem
    assert "kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic shop.mail" in problem
    assert "shop.mail.mid: no priority of queue 'mail' names it any more" in str(mains[1])
