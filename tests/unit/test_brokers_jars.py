"""Kafka's jars are fetched once, whole or not at all; Maven is a script here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers import jars

FETCHES = """#!/bin/sh
echo run >> {log}
for word in "$@"; do case $word in -DoutputDirectory=*) out=${{word#*=}};; esac; done
sleep 0.3
touch $out/kafka_2.13-4.3.1.jar $out/kafka-clients-4.3.1.jar
"""
FAILS = """#!/bin/sh
for word in "$@"; do case $word in -DoutputDirectory=*) out=${{word#*=}};; esac; done
touch $out/kafka-clients-4.3.1.jar
echo '[ERROR] Could not resolve artifact'
exit 1
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: folder)
    return folder


def maven(tmp_path: Path, script: str) -> str:
    program = tmp_path / "mvn"
    program.write_text(script.format(log=tmp_path / "log"))
    program.chmod(0o755)
    return str(program)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_several_at_once_fetch_once_and_all_get_the_whole_folder(
    cache: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    program = maven(tmp_path, FETCHES)
    assert jars.fetched_jars() is None

    with ThreadPoolExecutor(4) as pool:
        got = set(pool.map(lambda _: jars.fetch_jars(program, said.append), range(4)))

    assert got == {cache / "kafka-4.3.1"} == {jars.fetched_jars()}
    assert names(cache / "kafka-4.3.1") == ["kafka-clients-4.3.1.jar", "kafka_2.13-4.3.1.jar"]
    assert (tmp_path / "log").read_text() == "run\n"
    assert len(said) == 1
    assert "54 MB" in said[0]


def test_a_failure_shows_what_maven_said_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokerSetupError, match=r"exit 1[\s\S]*Could not resolve artifact"):
        jars.fetch_jars(maven(tmp_path, FAILS), lambda _: None)
    assert names(cache) == ["kafka-4.3.1.lock"]


def test_what_a_killed_fetch_left_is_cleared_away(cache: Path, tmp_path: Path) -> None:
    (cache / "kafka-4.3.1.fetch-old").mkdir(parents=True)
    jars.fetch_jars(maven(tmp_path, FETCHES), lambda _: None)
    assert names(cache) == ["kafka-4.3.1", "kafka-4.3.1.lock"]


def test_jars_that_are_there_need_no_maven(cache: Path) -> None:
    with pytest.raises(BrokerSetupError, match="no Maven"):
        jars.fetch_jars(None, lambda _: None)
    (cache / "kafka-4.3.1").mkdir(parents=True)
    assert jars.fetch_jars(None, lambda _: None) == cache / "kafka-4.3.1"
