"""What the admin client makes of a real broker, and of the embedded one."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streamjobs.clock import monotonic
from streamjobs.errors import TopicsError
from streamjobs.kafka.admin import Admin, Watermarks
from streamjobs.kafka.brokers import Broker, start_broker, why_no_kafka
from streamjobs.kafka.config import consumer_config, producer_config
from streamjobs.settings import Settings, load_settings
from streamjobs.topics import QueueTopics, TopicSpec, queue_specs, schemas_spec


def settings_for(broker: Broker) -> Settings:
    return load_settings({}, bootstrap_servers=broker.bootstrap)


def specs_for(
    app: str, *, partitions: int = 2, delays: tuple[float, ...] = (1,)
) -> list[TopicSpec]:
    queue = queue_specs(QueueTopics(app, "mail"), partitions=partitions, delays=delays)
    return [schemas_spec(app), *queue]


def create(broker: Broker, *topics: NewTopic) -> None:
    client = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in client.create_topics(list(topics)).values():
        future.result(10)


def produce(settings: Settings, topic: str, *keys: str, partition: int = 0) -> None:
    producer = Producer(producer_config(settings))
    for key in keys:
        producer.produce(topic, key.encode(), key=key, partition=partition)
    assert producer.flush(10) == 0


def commit(settings: Settings, group: str, *offsets: TopicPartition) -> None:
    consumer = Consumer(consumer_config(settings, group, group_protocol="classic"))
    consumer.commit(offsets=list(offsets), asynchronous=False)
    consumer.close()


def test_apply_makes_the_topics_and_a_second_time_does_nothing(
    kafka_broker: Broker, app_name: str
) -> None:
    specs = specs_for(app_name)
    with Admin(settings_for(kafka_broker)) as admin:
        # given no topic of the app
        plan = admin.plan(specs)
        assert len(plan.steps) == len(plan.problems) == len(specs)
        # when the plan is applied
        admin.apply(plan)
        # then the topics are there at once, and as they must be
        infos = admin.topics(spec.name for spec in specs)
        assert {name: info.partitions for name, info in infos.items()} == {
            spec.name: spec.partitions for spec in specs
        }
        assert len({info.topic_id for info in infos.values()} - {""}) == len(specs)
        again = admin.plan(specs)
        assert (again.steps, again.problems, again.old_tiers) == ((), (), ())
        # and an old plan can be applied by somebody else meanwhile
        admin.apply(plan)


def test_wrong_settings_are_mended(kafka_broker: Broker, app_name: str) -> None:
    # given a compacted main topic and a tier that is stamped by producers and forgets at once
    specs = specs_for(app_name)
    tier = f"{app_name}.mail.retry.1s"
    create(
        kafka_broker,
        NewTopic(f"{app_name}.mail", 2, -1, config={"cleanup.policy": "compact"}),
        NewTopic(tier, 2, -1, config={"retention.ms": "1000", "segment.ms": "1234"}),
    )
    with Admin(settings_for(kafka_broker)) as admin:
        plan = admin.plan(specs)
        wrong = [problem for problem in plan.problems if "does not exist" not in problem]
        assert len(wrong) == 2
        # when applied
        admin.apply(plan)
        # then they are right, and what we have no opinion about is as it was
        assert admin.plan(specs).problems == ()
    client = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    (future,) = client.describe_configs([ConfigResource(ResourceType.TOPIC, tier)]).values()
    config = {name: entry.value for name, entry in future.result(10).items()}
    assert config["segment.ms"] == "1234"
    assert config["message.timestamp.type"] == "LogAppendTime"


def test_partitions_are_never_added(kafka_broker: Broker, app_name: str) -> None:
    with Admin(settings_for(kafka_broker)) as admin:
        admin.apply(admin.plan(specs_for(app_name, partitions=2)))
        # when code says more, and that is applied
        more = specs_for(app_name, partitions=3)
        plan = admin.plan(more)
        admin.apply(plan)
        # then it is told, and nothing was done
        assert plan.steps == ()
        assert any("has 2 partitions" in problem for problem in plan.problems)
        assert admin.topics([f"{app_name}.mail"])[f"{app_name}.mail"].partitions == 2


def test_an_old_tier_is_empty_once_its_records_are_complete(
    kafka_broker: Broker, app_name: str
) -> None:
    settings = settings_for(kafka_broker)
    tier, group = f"{app_name}.mail.retry.10s", f"{app_name}.mail"
    with Admin(settings) as admin:
        # given a ladder of two tiers, shortened to one in code
        admin.apply(admin.plan(specs_for(app_name, delays=(1, 10))))
        specs = specs_for(app_name, delays=(1,))
        (old,) = admin.plan(specs).old_tiers
        assert (old.topic, old.group, old.empty) == (tier, group, True)
        # when a record is in it, then it is not empty
        produce(settings, tier, "a")
        (old,) = admin.plan(specs).old_tiers
        assert old.empty is False
        # when the group has passed it, then it is
        commit(settings, group, TopicPartition(tier, 0, 1))
        (old,) = admin.plan(specs).old_tiers
        assert old.empty is True


def test_a_refused_topic_is_named_with_the_brokers_reason(
    kafka_broker: Broker, app_name: str
) -> None:
    spec = TopicSpec(f"{app_name}.schemas", 1, {"cleanup.policy": "both"})
    with Admin(settings_for(kafka_broker)) as admin:
        plan = admin.plan([spec])
        with pytest.raises(TopicsError, match=f"{app_name}.schemas.*cleanup.policy"):
            admin.apply(plan)


def test_a_broker_that_never_had_a_group_answers_in_time() -> None:
    # given a broker just started: the first request about a group gets no answer there
    if reason := why_no_kafka():
        pytest.skip(reason)
    with start_broker("kafka") as broker, Admin(settings_for(broker)) as admin:
        began = monotonic()
        assert admin.committed("nobody", [("nothing", 0)]) == {}
        assert admin.members("nobody") == 0
        assert monotonic() - began < 15


def test_asking_for_a_topic_does_not_create_it(any_broker: Broker, app_name: str) -> None:
    with Admin(settings_for(any_broker)) as admin:
        assert admin.topics([app_name]) == {}
        assert app_name not in admin.topics()


def test_watermarks_and_committed_offsets(any_broker: Broker, app_name: str) -> None:
    settings, topic = settings_for(any_broker), f"{app_name}.mail"
    with Admin(settings) as admin:
        any_broker.create_topics(specs_for(app_name))
        # given two records, one of them complete
        produce(settings, topic, "a", "b")
        places = [(topic, 0), (topic, 1)]
        assert admin.committed(topic, places) == {}
        commit(settings, topic, TopicPartition(topic, 0, 1))
        # then the end is behind the last, and the unread partition has no commit
        assert admin.watermarks(places) == {
            (topic, 0): Watermarks(0, 2),
            (topic, 1): Watermarks(0, 0),
        }
        assert admin.committed(topic, places) == {(topic, 0): 1}


def test_watermarks_count_an_open_transaction(kafka_broker: Broker, app_name: str) -> None:
    settings, topic = settings_for(kafka_broker), f"{app_name}.mail"
    with Admin(settings) as admin:
        admin.apply(admin.plan(specs_for(app_name)))
        producer = Producer(producer_config(settings, transactional_id=app_name))
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce(topic, b"x", partition=0)
        producer.flush(10)
        assert admin.watermarks([(topic, 0)])[topic, 0] == Watermarks(0, 1)
        producer.abort_transaction(10)


def test_watermarks_of_a_missing_topic_name_it(kafka_broker: Broker, app_name: str) -> None:
    with (
        Admin(settings_for(kafka_broker)) as admin,
        pytest.raises(TopicsError, match=app_name),
    ):
        admin.watermarks([(app_name, 0)])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_of_both_kinds_of_group(kafka_broker: Broker, app_name: str, protocol: str) -> None:
    settings = replace_protocol(settings_for(kafka_broker), protocol)
    topic = f"{app_name}.mail"
    with Admin(settings) as admin:
        admin.apply(admin.plan(specs_for(app_name)))
        assert admin.members(topic) == 0
        consumer = Consumer(consumer_config(settings, topic))
        consumer.subscribe([topic])
        deadline = monotonic() + 30
        while not consumer.assignment() and monotonic() < deadline:
            consumer.poll(0.1)
        assert admin.members(topic) == 1
        consumer.close()
        assert admin.members(topic) == 0


def test_the_session_timeout_is_kept_by_the_broker_for_each_group(
    kafka_broker: Broker, app_name: str
) -> None:
    with Admin(settings_for(kafka_broker)) as admin:
        admin.set_session_timeout([app_name], 50_000)
        with pytest.raises(TopicsError, match=f"group {app_name}.*session.timeout"):
            admin.set_session_timeout([app_name], 1)
    client = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    group, deadline = ConfigResource(ResourceType.GROUP, app_name), monotonic() + 20
    while True:  # a broker shows a change a moment after it has taken it
        (future,) = client.describe_configs([group]).values()
        if future.result(10)["consumer.session.timeout.ms"].value == "50000":
            break
        assert monotonic() < deadline


def replace_protocol(settings: Settings, protocol: str) -> Settings:
    return settings.model_copy(update={"group_protocol": protocol})


def test_the_embedded_broker_refuses_topic_administration_at_once(
    embedded_broker: Broker, app_name: str
) -> None:
    with Admin(settings_for(embedded_broker)) as admin:
        assert admin.members(app_name) is None
        began = monotonic()
        with pytest.raises(TopicsError, match="no topic administration: start it with -A"):
            admin.plan(specs_for(app_name))
        assert monotonic() - began < 9
