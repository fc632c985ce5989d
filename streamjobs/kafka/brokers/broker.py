"""What every development broker is to its user, and the topics it starts with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Literal, Protocol, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamjobs.clock import monotonic
from streamjobs.errors import BrokerSetupError
from streamjobs.topics import TopicSpec

_ADMIN_SECONDS = 30.0


class Node(Protocol):
    """One broker process of ours, to be taken down and brought back by tests of broker loss."""

    @property
    def address(self) -> str:
        """Its ``host:port``."""

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; its data stays."""

    def stop(self) -> None:
        """Shut it down in good order (SIGTERM); its data stays."""

    def start(self) -> None:
        """Bring it back, on the same port with the same data, and wait until it serves."""


class Broker:
    """A development broker that somebody else runs: stopping it leaves it alone.

    The others derive from this. A context manager; ``stop`` may be called any number of times.

    Attributes:
        engine: ``"kafka"`` or ``"embedded"``.
        bootstrap: ``host:port``, with commas between where there are several.
        nodes: the processes of ours that make it up; empty where they are not ours to end.
    """

    engine: Literal["kafka", "embedded"] = "kafka"

    def __init__(self, bootstrap: str, nodes: Sequence[Node] = ()) -> None:
        self.bootstrap = bootstrap
        self.nodes: tuple[Node, ...] = tuple(nodes)

    def stop(self) -> None:
        """End it and remove its data, where it is ours."""

    def check(self) -> None:
        """Look after the processes it is made of, where they are ours.

        Raises:
            BrokerSetupError: when one has ended by itself, with the end of its log.
        """

    def create_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create the topics that are not there yet; those that are stay as they are.

        Raises:
            BrokerSetupError: when the broker refuses one, naming it.
        """
        create_topics(self.bootstrap, specs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def quiet_admin(bootstrap: str) -> AdminClient:
    """An admin client that does not write to stderr while a broker is still starting."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": "0"})


def wait_for_brokers(bootstrap: str, expected: Iterable[str] = (), *, timeout: float) -> None:
    """Return when a client sees a broker, and all those ``expected`` (``host:port``).

    Raises:
        BrokerSetupError: when that did not happen within ``timeout`` seconds.
    """
    admin, wanted = quiet_admin(bootstrap), set(expected)
    deadline, seen = monotonic() + timeout, set[str]()
    while (left := deadline - monotonic()) > 0:
        try:
            brokers = admin.list_topics(timeout=min(left, 1.0)).brokers.values()
        except KafkaException:
            continue
        seen = {f"{b.host}:{b.port}" for b in brokers}
        if seen and wanted <= seen:
            return
    raise BrokerSetupError(
        f"after {timeout:.0f} s a client at {bootstrap} sees "
        f"{', '.join(sorted(seen)) or 'no broker'}"
        + (f" and still misses {', '.join(sorted(wanted - seen))}" if wanted else "")
    )


def create_topics(bootstrap: str, specs: Sequence[TopicSpec]) -> None:
    """Create what is missing of ``specs`` on a real broker; see ``Broker.create_topics``."""
    if not specs:
        return
    wanted = [NewTopic(s.name, num_partitions=s.partitions, config=s.config) for s in specs]
    admin = quiet_admin(bootstrap)  # must live until the futures are done
    made: dict[str, Future[None]] = admin.create_topics(wanted, operation_timeout=_ADMIN_SECONDS)
    for name, future in made.items():
        try:
            future.result(_ADMIN_SECONDS)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerSetupError(
                    f"{bootstrap} did not create topic {name}: {cause.str()}"
                ) from error
