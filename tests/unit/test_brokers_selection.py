"""Which way to a broker is taken, and what is said when there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.properties import Place, render, server_properties
from streamjobs.kafka.brokers.selection import Findings, choose, explain_missing
from streamjobs.kafka.brokers.survey import home_version, parse_java_version

EVERYTHING = Findings(
    bootstrap="broker:9092",
    kafka_home=Path("/opt/kafka"),
    home_version=4,
    java="/usr/bin/java",
    java_major=17,
    maven="/usr/bin/mvn",
    docker="unix:///var/run/docker.sock",
    testcontainers=True,
)
NO_BOOTSTRAP = replace(EVERYTHING, bootstrap=None)
NO_HOME = replace(NO_BOOTSTRAP, kafka_home=None, home_version=None)
NO_MAVEN = replace(NO_HOME, maven=None)
NOTHING = Findings()


@pytest.mark.parametrize("engine", ["kafka", "auto"])
@pytest.mark.parametrize(
    ("found", "way"),
    [
        (EVERYTHING, "external"),
        (NO_BOOTSTRAP, "home"),
        (NO_HOME, "maven"),
        (NO_MAVEN, "docker"),
        (replace(NO_MAVEN, jars=Path("/cache/kafka")), "maven"),
        (replace(NO_HOME, java=None, java_major=None), "docker"),
        (replace(NO_HOME, java_major=11), "docker"),
        (replace(NO_HOME, java_major=25), "maven"),
    ],
)
def test_the_first_way_that_is_there_is_taken(engine: str, found: Findings, way: str) -> None:
    assert choose(engine, found).way == way  # type: ignore[arg-type]  # parametrised text


def test_embedded_is_taken_when_asked_for_whatever_else_is_there() -> None:
    assert choose("embedded", EVERYTHING).way == "embedded"


@pytest.mark.parametrize(
    ("found", "lack"),
    [
        (NOTHING, "no java on the PATH or in JAVA_HOME; no Docker engine answers"),
        (replace(NOTHING, java="/j", java_major=11), "/j is Java 11, 17 or newer is needed"),
        (replace(NOTHING, java="/j"), "/j does not run"),
        (replace(NOTHING, java="/j", java_major=17), "no Maven"),
        (replace(NOTHING, docker="unix:///d"), "not the extra streamjobs[docker]"),
    ],
)
def test_without_any_way_auto_is_embedded_and_kafka_says_how_to_get_one(
    found: Findings, lack: str
) -> None:
    auto = choose("auto", found)
    with pytest.raises(BrokerSetupError) as refusal:
        choose("kafka", found)

    assert auto.way == "embedded"
    assert lack in auto.why
    assert lack in str(refusal.value)
    assert explain_missing(found) == str(refusal.value)
    for way in ("STREAMJOBS_TEST_BOOTSTRAP", "KAFKA_HOME", "Java 17", "Maven", "Docker"):
        assert way in str(refusal.value)


def test_three_nodes_are_never_somebody_elses_and_never_containers() -> None:
    assert choose("kafka", replace(NO_HOME, bootstrap="broker:9092"), nodes=3).way == "maven"
    with pytest.raises(BrokerSetupError, match=r"Docker is used for one node, not 3"):
        choose("kafka", NO_MAVEN, nodes=3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"home_version": None}, r"KAFKA_HOME=/opt/kafka has no libs/kafka_2.13-\*.jar"),
        ({"home_version": 3}, "KAFKA_HOME=/opt/kafka is Kafka 3: version 4 or newer"),
        ({"java": None}, "KAFKA_HOME=/opt/kafka cannot be used: no java"),
    ],
)
def test_a_kafka_home_that_cannot_be_used_is_never_passed_over(
    change: dict[str, int | None], complaint: str
) -> None:
    found = replace(NO_BOOTSTRAP, **change)  # type: ignore[arg-type]  # parametrised fields
    with pytest.raises(BrokerSetupError, match=complaint):
        choose("auto", found)
    with pytest.raises(BrokerSetupError, match=complaint):
        explain_missing(found)


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_says_its_version_in_several_ways(text: str, major: int | None) -> None:
    assert parse_java_version(text) == major


def test_the_version_of_an_unpacked_kafka_is_read_off_its_jar(tmp_path: Path) -> None:
    assert home_version(tmp_path) is None
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.3.1.jar").touch()
    assert home_version(tmp_path) == 4


@pytest.mark.parametrize(("count", "copies", "quorum"), [(1, "1", "1"), (3, "3", "2")])
def test_settings_keep_as_many_copies_as_there_are_nodes_and_stay_on_the_loopback(
    count: int, copies: str, quorum: str
) -> None:
    cluster = [Place(n, 9000 + n, 9100 + n, Path(f"/data/{n}")) for n in range(1, count + 1)]

    settings = server_properties(cluster[0], cluster)

    for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert settings[f"{topic}.replication.factor"] == copies
    for name in ("transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"):
        assert settings[name] == quorum
    assert settings["min.insync.replicas"] == quorum
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:9001,CONTROLLER://127.0.0.1:9101"
    assert settings["controller.quorum.voters"].count("@127.0.0.1:") == count
    assert "node.id=1\n" in render(settings)


def test_properties_of_the_callers_own_win() -> None:
    place = Place(1, 9001, 9101, Path("/data/1"))
    own = {"num.partitions": "7", "super.users": "User:admin"}

    settings = server_properties(place, [place], own)

    assert own.items() <= settings.items()
    assert settings["node.id"] == "1"
