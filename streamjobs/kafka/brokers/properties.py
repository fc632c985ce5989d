"""How a development broker is configured: pure text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

HOST = "127.0.0.1"
# No properties of the caller's own.
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Place:
    """Where one node lives: its id (from 1), its ports on the loopback and its data folder."""

    node: int
    port: int
    controller_port: int
    data: Path


def server_properties(
    place: Place, cluster: list[Place], more: Mapping[str, str] = NONE
) -> dict[str, str]:
    """Return the ``server.properties`` of one combined (broker and controller) KRaft node.

    Args:
        place: of this node.
        cluster: the places of all nodes.
        more: the caller's own, which win.
    """
    voters = ",".join(f"{p.node}@{HOST}:{p.controller_port}" for p in cluster)
    return {
        "process.roles": "broker,controller",
        "node.id": str(place.node),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": (
            f"PLAINTEXT://{HOST}:{place.port},CONTROLLER://{HOST}:{place.controller_port}"
        ),
        "advertised.listeners": f"PLAINTEXT://{HOST}:{place.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(place.data),
        **common_properties(len(cluster)),
        **more,
    }


def common_properties(nodes: int) -> dict[str, str]:
    """Return what does not depend on the place: replication, timeouts, sizes.

    With three nodes a record acknowledged by all survives the loss of one of them.
    """
    copies, quorum = ("3", "2") if nodes >= 3 else ("1", "1")
    return {
        **_replication(copies, quorum),
        # A misspelt topic must be an error, as it is on a cluster that is looked after.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # Classic and KIP-848 groups may both notice a dead member after 6 s (the broker's own
        # minimum for KIP-848 is 45 s); the others hear of it with their next heartbeat.
        "group.min.session.timeout.ms": "6000",
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "500",
        "group.consumer.heartbeat.interval.ms": "500",
        # How often the coordinator looks for transactions that outlived their timeout.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # How soon the controller gives up on a dead node.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
        # A small heap: the log cleaner alone would take 128 MiB of it.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def _replication(copies: str, quorum: str) -> dict[str, str]:
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": quorum,
        "num.partitions": "1",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": quorum,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": quorum,
        "share.coordinator.state.topic.num.partitions": "2",
    }


def render(properties: dict[str, str]) -> str:
    """Return the text of a ``.properties`` file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())
