"""Development brokers: a real Apache Kafka where the machine can run one, else an embedded one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.apache import Kafka, start_local
from streamjobs.kafka.brokers.broker import Broker, Node, wait_for_brokers
from streamjobs.kafka.brokers.embedded import LIMITS, start_embedded
from streamjobs.kafka.brokers.jars import fetch_jars
from streamjobs.kafka.brokers.properties import NONE
from streamjobs.kafka.brokers.selection import (
    HOW_TO_GET_ONE,
    Choice,
    Engine,
    Findings,
    choose,
    explain_missing,
)
from streamjobs.kafka.brokers.survey import survey
from streamjobs.topics import TopicSpec

__all__ = ["HOW_TO_GET_ONE", "LIMITS", "Broker", "Engine", "Node", "start_broker", "why_no_kafka"]

_EXTERNAL_SECONDS = 15.0


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"streamjobs broker: {line}\n")
    sys.stderr.flush()


def start_broker(
    engine: Engine = "auto",
    nodes: int = 1,
    port: int | None = None,
    topics: Sequence[TopicSpec] = (),
    *,
    properties: Mapping[str, str] = NONE,
    say: Callable[[str], object] = _to_stderr,
) -> Broker:
    """Start a broker for development and tests, on 127.0.0.1; use it as a context manager.

    It ends with ``stop``, with the ``with`` block, or with this process, however that ends.

    Args:
        engine: ``"kafka"``: Apache Kafka; ``"embedded"``: the one inside librdkafka, with its
            limits; ``"auto"``: Apache Kafka where one of its ways is there, else embedded.
        nodes: 1 or 3.
        port: of the first node; None: any free one.
        topics: created before this returns, where they are not there.
        properties: of ``server.properties``, besides ours or in their place; with any, the broker
            is one of our own and never that of ``STREAMJOBS_TEST_BOOTSTRAP``.
        say: takes one line for the user: what was chosen and why, a download.

    Raises:
        BrokerSetupError: when there is no way to one, or it does not start.
    """
    if nodes not in (1, 3):
        raise BrokerSetupError(f"{nodes} nodes: a development broker has 1 or 3")
    found = _survey(own=bool(properties))
    choice = choose(engine, found, nodes=nodes)
    if properties and choice.way == "embedded":
        raise BrokerSetupError(
            f"the embedded broker takes no properties ({', '.join(sorted(properties))}): leave "
            f"them out, or use engine kafka. {HOW_TO_GET_ONE}"
        )
    say(choice.sentence)
    broker = _start(choice, found, nodes, port, properties=properties, say=say)
    try:
        broker.create_topics(topics)
    except BaseException:
        broker.stop()
        raise
    return broker


def why_no_kafka(nodes: int = 1, *, own: bool = False) -> str | None:
    """Return None when Apache Kafka can be had here, else what is missing and how to get it.

    Args:
        nodes: 1 or 3.
        own: whether it has to be started here, as one with properties of its own is.

    Raises:
        BrokerSetupError: when ``KAFKA_HOME`` is set and cannot be used.
    """
    return explain_missing(_survey(own=own), nodes=nodes)


def _survey(*, own: bool) -> Findings:
    return replace(survey(), bootstrap=None) if own else survey()


def _start(
    choice: Choice,
    found: Findings,
    nodes: int,
    port: int | None,
    *,
    properties: Mapping[str, str],
    say: Callable[[str], object],
) -> Broker:
    java = found.java or "java"
    match choice.way:
        case "external":
            return _external(found.bootstrap or "", port)
        case "home":
            libs = (found.kafka_home or Path()) / "libs"
            return start_local(Kafka(java, libs), nodes=nodes, port=port, properties=properties)
        case "maven":
            libs = found.jars or fetch_jars(found.maven, say)
            return start_local(Kafka(java, libs), nodes=nodes, port=port, properties=properties)
        case "docker":
            # Deferred: testcontainers is an extra, and slow to import.
            from streamjobs.kafka.brokers.container import start_container

            image = os.environ.get("STREAMJOBS_KAFKA_IMAGE")
            return start_container(image, port=port, properties=properties)
        case "embedded":
            return _embedded(nodes, port)
        case _:
            assert_never(choice.way)


def _embedded(nodes: int, port: int | None) -> Broker:
    if port is not None:
        raise BrokerSetupError(
            f"the embedded broker picks its port itself: leave out port {port}, or use engine kafka"
        )
    return start_embedded(nodes=nodes)


def _external(bootstrap: str, port: int | None) -> Broker:
    if port is not None:
        raise BrokerSetupError(
            f"STREAMJOBS_TEST_BOOTSTRAP={bootstrap} says where the broker is: leave out the port"
        )
    wait_for_brokers(bootstrap, timeout=_EXTERNAL_SECONDS)
    return Broker(bootstrap)
