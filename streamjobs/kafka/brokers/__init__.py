"""Development brokers: a real Apache Kafka where the machine can run one, else an embedded one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.apache import Kafka, start_local
from streamjobs.kafka.brokers.broker import Broker, Node, wait_for_brokers
from streamjobs.kafka.brokers.jars import fetch_jars
from streamjobs.kafka.brokers.selection import HOW_TO_GET_ONE, Engine, Findings, choose
from streamjobs.kafka.brokers.survey import survey
from streamjobs.topics import TopicSpec

__all__ = ["HOW_TO_GET_ONE", "Broker", "Engine", "Node", "start_broker"]

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
        say: takes one line for the user: what was chosen and why, a download.

    Raises:
        BrokerSetupError: when there is no way to one, or it does not start.
    """
    if nodes not in (1, 3):
        raise BrokerSetupError(f"{nodes} nodes: a development broker has 1 or 3")
    found = survey()
    choice = choose(engine, found, nodes=nodes)
    kind = "embedded broker" if choice.way == "embedded" else "Apache Kafka"
    say(f"{kind}: {choice.why}")
    broker = _start(choice.way, found, nodes, port, say)
    try:
        broker.create_topics(topics)
    except BaseException:
        broker.stop()
        raise
    return broker


def _start(
    way: str, found: Findings, nodes: int, port: int | None, say: Callable[[str], object]
) -> Broker:
    if way == "external":
        return _external(found.bootstrap or "", port)
    if way == "home" and found.kafka_home is not None and found.java is not None:
        return start_local(Kafka(found.java, found.kafka_home / "libs"), nodes=nodes, port=port)
    if way == "maven" and found.java is not None:
        libs = found.jars or fetch_jars(found.maven, say)
        return start_local(Kafka(found.java, libs), nodes=nodes, port=port)
    raise BrokerSetupError(f"{way} is not there yet")


def _external(bootstrap: str, port: int | None) -> Broker:
    if port is not None:
        raise BrokerSetupError(
            f"STREAMJOBS_TEST_BOOTSTRAP={bootstrap} says where the broker is: leave out the port"
        )
    wait_for_brokers(bootstrap, 1, timeout=_EXTERNAL_SECONDS)
    return Broker(bootstrap)
