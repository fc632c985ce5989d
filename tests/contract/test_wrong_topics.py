"""Topics that would lose jobs or their order: a worker names each, with what mends it, and ends."""

from __future__ import annotations

import json
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from integration.scene import Scene, scene_of

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

SOURCE = """
app.queue(
    "mail",
    partitions=2,
    retry=Retry(delays=("100ms", "10s", "1m")),
    priorities=("high", "low"),
)

@app.job(queue="mail")
def send(ctx: Context) -> None:
    note("end", ctx.job_id)
"""
APPLY = "'streamjobs -A module:app topics apply' sets it"


def alter(client: AdminClient, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    (future,) = client.incremental_alter_configs([resource]).values()
    future.result(10)


def problems(scene: Scene) -> list[str]:
    """What a worker says that refuses to start."""
    worker = scene.worker("--drain")
    assert worker.wait() == 1, worker.errors
    assert "Traceback" not in worker.errors
    said = worker.errors.splitlines()
    return [line.strip("- ") for line in said if line.startswith(("  - ", "Error: topic"))]


def test_all_that_is_wrong_is_listed_with_what_mends_it(
    kafka_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> None:
    client = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    settings = {"bootstrap": kafka_broker.bootstrap, "group_protocol": group_protocol}
    with scene_of(SOURCE, folder=tmp_path, name=app_name, **settings) as scene:
        # Given a queue whose topics somebody has changed, and an old tier that was never right
        base = f"{app_name}.mail"
        alter(client, f"{app_name}.schemas", "cleanup.policy", "delete")
        alter(client, f"{base}.retry.100ms", "cleanup.policy", "compact")
        alter(client, f"{base}.retry.10s", "retention.ms", "9999")
        alter(client, f"{base}.retry.1m", "message.timestamp.type", "CreateTime")
        alter(client, f"{base}.retry.1m", "retention.bytes", "1000000")
        alter(client, f"{base}.low", "cleanup.policy", "compact,delete")
        alter(client, f"{base}.high", "message.timestamp.type", "CreateTime")
        more = [NewPartitions(f"{base}.low", 3), NewPartitions(f"{base}.dlq", 4)]
        old = NewTopic(f"{base}.retry.5m", 1, config={"retention.ms": "299999"})
        for future in [
            *client.create_partitions(more).values(),
            *client.create_topics([old]).values(),
        ]:
            future.result(10)

        # When a worker starts
        said = problems(scene)

        # Then it ends, and has named each
        expected = [
            (f"topic {base}.low has 3 partitions", "partitions were added", "set partitions=3"),
            (
                f"topic {base}.dlq has 4 partitions",
                f"kafka-topics.sh --bootstrap-server HOST:PORT --delete --topic {base}.dlq",
            ),
            (f"topic {base}.retry.5m has 1 partition", f"--delete --topic {base}.retry.5m"),
            (f"topic {app_name}.schemas: cleanup.policy is delete and must be compact", APPLY),
            (f"topic {base}.low: cleanup.policy is compact,delete and must be delete", APPLY),
            (f"topic {base}.retry.100ms: cleanup.policy is compact and must be delete", APPLY),
            (f"topic {base}.retry.10s: retention.ms is 9999 and must be at least 6048", APPLY),
            (f"topic {base}.high: message.timestamp.type is CreateTime and must be Log", APPLY),
            (f"topic {base}.retry.1m: message.timestamp.type is CreateTime and must be Log", APPLY),
            (f"topic {base}.retry.1m: ", "retention.bytes is 1000000 and must be -1"),
            (f"topic {base}.retry.5m: ", "message.timestamp.type is CreateTime"),
            (f"topic {base}.retry.5m: ", "retention.ms is 299999 and must be at least 605100000"),
        ]
        for parts in expected:
            assert any(all(part in line for part in parts) for line in said), (parts, said)
        assert len(said) == 10, said
        # And 'topics plan' says the same of what it can mend, and of what it cannot
        plan = json.loads(scene.command("topics", "plan", "--json").stdout)
        assert sorted(plan["problems"]) == sorted(said)
        assert [step["topic"].removeprefix(base) for step in plan["steps"]] == [
            f"{app_name}.schemas",
            *(".high", ".low", ".retry.100ms", ".retry.10s", ".retry.1m", ".retry.5m"),
        ]

        # When what is named is done
        assert scene.command("topics", "apply").returncode == 1
        said = problems(scene)
        assert [" partition" in line for line in said] == [True] * 3, said
        wrong = [f"{base}.low", f"{base}.dlq", f"{base}.retry.5m"]
        for future in client.delete_topics(wrong).values():
            future.result(10)
        mended = scene.command("topics", "apply")
        assert mended.returncode == 0, mended.stderr

        # Then a worker runs
        ref = scene.job("send").options(priority="low").enqueue()
        worker = scene.worker("--drain")
        assert worker.wait() == 0, worker.errors
        assert scene.noted("end") == {ref.id: 1}


def test_another_count_in_code_is_refused(
    kafka_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> None:
    settings = {"bootstrap": kafka_broker.bootstrap, "group_protocol": group_protocol}
    with scene_of(SOURCE, folder=tmp_path, name=app_name, **settings) as scene:
        # Given topics with two partitions, and a release that says three
        module = tmp_path / f"{scene.module}.py"
        module.write_text(module.read_text().replace("partitions=2", "partitions=3"))

        # When its worker starts
        said = problems(scene)

        # Then every topic of the queue is named, with the way back
        assert len(said) == 7, said
        assert all("has 2 partitions, the app says 3" in line for line in said)
        assert all("set partitions=2 for its queue" in line for line in said)
