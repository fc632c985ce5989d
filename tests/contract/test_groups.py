"""A group's coordinator that comes late: whoever asked for it, and waited no longer, lives on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from integration.scene import eventually

from streamjobs.kafka.brokers import Broker
from streamjobs.kafka.groups import describe_group
from streamjobs.settings import load_settings

# A process of its own, since it is its end that is feared: an assertion inside of the client.
ASKS = """
import sys
from confluent_kafka import KafkaException
from streamjobs.kafka.groups import describe_group
from streamjobs.settings import load_settings

settings = load_settings({}, bootstrap_servers=sys.argv[1])
while True:
    try:
        describe_group(settings, sys.argv[2], 0.5)
    except (TimeoutError, KafkaException):
        print("none", flush=True)
    else:
        print("told", flush=True)
"""


def test_who_asks_in_vain_until_there_is_a_coordinator_lives_on(
    kafka_cluster: Broker, app_name: str, tmp_path: Path
) -> None:
    # Given somebody who asks for a group, again and again
    settings = load_settings({}, bootstrap_servers=kafka_cluster.bootstrap)
    log = tmp_path / "log"

    def told(word: str) -> int:
        return log.read_text(encoding="utf-8").count(word)

    with log.open("w", encoding="utf-8") as out:
        asks = subprocess.Popen(
            [sys.executable, "-c", ASKS, kafka_cluster.bootstrap, app_name], stdout=out
        )
    try:
        eventually(lambda: told("told") > 3, "it is told", within=60)

        # When the group's coordinator is killed, and there is another one after a while
        found: Any = describe_group(settings, app_name, 30).coordinator
        node = next(n for n in kafka_cluster.nodes if n.address == f"{found.host}:{found.port}")
        node.kill()
        try:
            eventually(lambda: told("none") > 3, "it is told nothing", within=60)
            before = told("told")
            eventually(lambda: told("told") > before + 3, "it is told again", within=60)
        finally:
            node.start()

        # Then it is there still
        assert asks.poll() is None
    finally:
        asks.kill()
        asks.wait(10)
