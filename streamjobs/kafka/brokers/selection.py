"""Which way to a development broker this machine offers: a pure decision over what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from streamjobs.errors import BrokerSetupError

KAFKA_VERSION = "4.3.1"
MIN_JAVA = 17  # brokers of Kafka 4 are compiled for it (KIP-1013)
DEFAULT_IMAGE = f"apache/kafka:{KAFKA_VERSION}"

Engine = Literal["auto", "kafka", "embedded"]
Way = Literal["external", "home", "maven", "docker", "embedded"]

HOW_TO_GET_ONE = (
    "An Apache Kafka for development comes from one of these, tried in this order: "
    "STREAMJOBS_TEST_BOOTSTRAP=HOST:PORT of one that runs; KAFKA_HOME of an unpacked Kafka 4 "
    f"(with Java {MIN_JAVA} or newer); Java {MIN_JAVA} or newer and Maven (its jars are fetched "
    "once); a running Docker engine with the extra streamjobs[docker] installed. Without any of "
    "them, `--engine embedded` needs nothing, with limits."
)


@dataclass(frozen=True)
class Findings:
    """What a look at the machine found.

    Attributes:
        bootstrap: ``STREAMJOBS_TEST_BOOTSTRAP``, or None.
        kafka_home: ``KAFKA_HOME``, or None.
        home_version: major version of the broker jar in ``KAFKA_HOME/libs``; None: no such jar.
        java: the ``java`` program, or None.
        java_major: its major version (8, 17, 25); None when it does not run.
        maven: the ``mvn`` program, or None.
        jars: the folder with Kafka's jars when they were fetched before, or None.
        docker: where a Docker engine answers, or None.
        testcontainers: whether the extra ``docker`` is installed.
    """

    bootstrap: str | None = None
    kafka_home: Path | None = None
    home_version: int | None = None
    java: str | None = None
    java_major: int | None = None
    maven: str | None = None
    jars: Path | None = None
    docker: str | None = None
    testcontainers: bool = False

    @property
    def java_fits(self) -> bool:
        """Whether this Java can run a broker."""
        return self.java is not None and (self.java_major or 0) >= MIN_JAVA


@dataclass(frozen=True)
class Choice:
    """The way that was chosen, and why, as half a sentence for the user."""

    way: Way
    why: str

    @property
    def sentence(self) -> str:
        """What was chosen and why, for the user."""
        what = "the embedded broker" if self.way == "embedded" else "Apache Kafka"
        return f"{what} ({self.why})"


def choose(engine: Engine, found: Findings, *, nodes: int = 1) -> Choice:
    """Decide how to come by a broker.

    Raises:
        BrokerSetupError: when ``engine="kafka"`` and there is no way to one, or when
            ``KAFKA_HOME`` is set and cannot be used.
    """
    match engine:
        case "embedded":
            return Choice("embedded", "asked for")
        case "kafka":
            choice = _kafka(found, nodes)
            if choice is None:
                raise BrokerSetupError(_no_kafka(found, nodes))
            return choice
        case "auto":
            return _kafka(found, nodes) or Choice("embedded", _missing(found, nodes))
        case _:
            assert_never(engine)


def explain_missing(found: Findings, *, nodes: int = 1) -> str | None:
    """Return None when there is a way to Apache Kafka, else what lacks and how to get one.

    Raises:
        BrokerSetupError: when ``KAFKA_HOME`` is set and cannot be used.
    """
    return None if _kafka(found, nodes) else _no_kafka(found, nodes)


def _no_kafka(found: Findings, nodes: int) -> str:
    return f"no Apache Kafka here: {_missing(found, nodes)}. {HOW_TO_GET_ONE}"


def _kafka(found: Findings, nodes: int) -> Choice | None:
    """The first way to Apache Kafka, in the documented order; None when there is none."""
    if found.bootstrap and nodes == 1:
        return Choice("external", f"STREAMJOBS_TEST_BOOTSTRAP={found.bootstrap}")
    if found.kafka_home is not None:
        return _home(found, found.kafka_home)
    if found.java_fits and found.jars is not None:
        return Choice("maven", f"Java {found.java_major}, Kafka's jars in {found.jars}")
    if found.java_fits and found.maven is not None:
        return Choice("maven", f"Java {found.java_major} and Maven")
    if found.docker is not None and found.testcontainers and nodes == 1:
        return Choice("docker", f"Docker engine at {found.docker}")
    return None


def _home(found: Findings, home: Path) -> Choice:
    """``KAFKA_HOME`` was set on purpose: never pass over it in silence."""
    if found.home_version is None:
        raise BrokerSetupError(
            f"KAFKA_HOME={home} has no libs/kafka_2.13-*.jar: point it at an unpacked Kafka 4, "
            "or unset it"
        )
    if found.home_version < 4:
        raise BrokerSetupError(
            f"KAFKA_HOME={home} is Kafka {found.home_version}: version 4 or newer is needed"
        )
    if not found.java_fits:
        raise BrokerSetupError(f"KAFKA_HOME={home} cannot be used: {_java(found)}")
    return Choice("home", f"KAFKA_HOME={home}")


def _java(found: Findings) -> str:
    if found.java is None:
        return "no java on the PATH or in JAVA_HOME"
    if found.java_major is None:
        return f"{found.java} does not run"
    return f"{found.java} is Java {found.java_major}, {MIN_JAVA} or newer is needed"


def _missing(found: Findings, nodes: int) -> str:
    """Say what each way lacks."""
    lacks = []
    if found.bootstrap and nodes > 1:
        lacks.append(f"STREAMJOBS_TEST_BOOTSTRAP is no cluster of {nodes} nodes of our own")
    lacks.append("no Maven" if found.java_fits else _java(found))
    if found.docker is None:
        lacks.append("no Docker engine answers")
    elif not found.testcontainers:
        lacks.append("a Docker engine, but not the extra streamjobs[docker]")
    else:
        lacks.append(f"Docker is used for one node, not {nodes}")
    return "; ".join(lacks)
