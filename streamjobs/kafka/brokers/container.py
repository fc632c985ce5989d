"""Apache Kafka in a container, driven by testcontainers (the extra ``docker``)."""

from __future__ import annotations

import io
import os
import tarfile
import time
import weakref
from collections.abc import Mapping

from docker.errors import DockerException  # type: ignore[import-untyped]  # ships no types
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.exceptions import ContainerConnectException, ContainerStartException

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.broker import Broker, wait_for_brokers
from streamjobs.kafka.brokers.properties import HOST, NONE, common_properties
from streamjobs.kafka.brokers.selection import DEFAULT_IMAGE

_CLIENT_PORT = 9092
_BROKER_PORT = 9094
_CONTROLLER_PORT = 9093
_SCRIPT = "/tmp/streamjobs-start.sh"  # noqa: S108  a path inside the container
_STARTED = b"Kafka Server started"
_START_SECONDS = 90.0
_TAIL_LINES = 25
_START_ERRORS = (ContainerStartException, ContainerConnectException, TimeoutError)


def container_environment(more: Mapping[str, str] = NONE) -> dict[str, str]:
    """Return the ``KAFKA_*`` variables of the image: all of them.

    One variable alone makes the image drop its default settings. Clients have a listener of
    their own: what it advertises is an address outside, which the broker itself, writing
    transaction markers for example, could not reach.
    """
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{_CONTROLLER_PORT}",
        "controller.listener.names": "CONTROLLER",
        "listeners": (
            f"PLAINTEXT://0.0.0.0:{_CLIENT_PORT},BROKER://{HOST}:{_BROKER_PORT},"
            f"CONTROLLER://{HOST}:{_CONTROLLER_PORT}"
        ),
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "inter.broker.listener.name": "BROKER",
        "log.dirs": "/tmp/kraft-combined-logs",  # noqa: S108  the image's own place
        **common_properties(1),
        **more,
    }
    names = {f"KAFKA_{k.upper().replace('.', '_')}": v for k, v in properties.items()}
    return {**names, "KAFKA_HEAP_OPTS": "-Xmx512m -XX:TieredStopAtLevel=1"}


class KafkaContainer(DockerContainer):
    """The image waits for a start script, which can name the port that Docker has mapped."""

    def __init__(self, image: str, port: int | None, properties: Mapping[str, str]) -> None:
        super().__init__(image)
        here = _is_here(self.get_docker_client())
        # Docker takes an address too; testcontainers only says that it takes a number.
        self.ports[str(_CLIENT_PORT)] = (HOST, port) if here else port  # type: ignore[assignment]
        self.with_envs(**container_environment(properties))
        wait = f"while [ ! -f {_SCRIPT} ]; do sleep 0.1; done; exec sh {_SCRIPT}"
        self.with_command(["sh", "-c", wait])

    def run(self) -> str:
        """Start the container and Kafka in it; return ``host:port`` once it has started."""
        self.start()
        address = f"{self.get_container_host_ip()}:{self.get_exposed_port(_CLIENT_PORT)}"
        advertised = f"PLAINTEXT://{address},BROKER://{HOST}:{_BROKER_PORT}"
        script = (
            f"export KAFKA_ADVERTISED_LISTENERS={advertised}\nexec /etc/kafka/docker/run\n"
        ).encode()
        self.get_wrapped_container().put_archive("/tmp", _archive(script))  # noqa: S108
        self._wait_started()
        return address

    def _wait_started(self) -> None:
        deadline = monotonic() + _START_SECONDS
        while _STARTED not in (log := b"".join(self.get_logs())):
            wrapped = self.get_wrapped_container()
            wrapped.reload()
            if wrapped.status != "running" or monotonic() > deadline:
                tail = "\n".join(log.decode(errors="replace").splitlines()[-_TAIL_LINES:])
                raise BrokerSetupError(
                    f"Kafka in a container of {self.image} did not start "
                    f"(container {wrapped.status}):\n{tail}"
                )
            time.sleep(0.1)


class ContainerBroker(Broker):
    """One container, removed with ``stop``; after a crash testcontainers' reaper removes it."""

    def __init__(self, container: KafkaContainer, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self._end = weakref.finalize(self, _end, os.getpid(), container)

    def stop(self) -> None:
        """Remove the container."""
        self._end()


def start_container(
    image: str | None = None, *, port: int | None = None, properties: Mapping[str, str] = NONE
) -> ContainerBroker:
    """Start one node in a container.

    Args:
        image: one made like ``apache/kafka``, which is the default.
        port: on this machine; None: any free one.
        properties: of the server, besides ours or in their place.

    Raises:
        BrokerSetupError: when the engine refuses, the image cannot be had, or Kafka does not
            start; with its log's end.
    """
    name = image or DEFAULT_IMAGE
    try:
        container = KafkaContainer(name, port, properties)
        try:
            broker = ContainerBroker(container, container.run())
            wait_for_brokers(broker.bootstrap, timeout=_START_SECONDS)
        except BaseException:
            container.stop()
            raise
    except (DockerException, *_START_ERRORS) as error:
        raise BrokerSetupError(f"Docker did not run {name}: {error}") from error
    return broker


def _end(owner: int, container: KafkaContainer) -> None:
    """Remove the container; nothing in a process that was forked off the owner."""
    if os.getpid() == owner:
        container.stop()


def _is_here(client: DockerClient) -> bool:
    """Whether containers' ports appear on this machine, so that its loopback is enough."""
    mode = client.get_connection_mode()
    return mode.name == "docker_host" and client.host() in ("localhost", HOST, "::1")


def _archive(script: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        entry = tarfile.TarInfo(_SCRIPT.rpartition("/")[2])
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script))
    return whole.getvalue()
