"""A look at the machine: what a development broker could be made from."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from streamjobs.kafka.brokers.jars import fetched_jars
from streamjobs.kafka.brokers.selection import Findings

_JAVA_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_BROKER_JAR = re.compile(r"kafka_2\.\d+-(\d+)\.[\w.-]*\.jar")


def survey(environ: Mapping[str, str] | None = None) -> Findings:
    """Look for everything a broker could come from; costs a start of Java (0.1 s)."""
    env = os.environ if environ is None else environ
    home = Path(env["KAFKA_HOME"]) if env.get("KAFKA_HOME") else None
    java = find_java(env)
    return Findings(
        bootstrap=env.get("STREAMJOBS_TEST_BOOTSTRAP", "").strip() or None,
        kafka_home=home,
        home_version=home_version(home) if home else None,
        java=java,
        java_major=java_major(java),
        maven=shutil.which("mvn", path=env.get("PATH")),
        jars=fetched_jars(),
        docker=find_docker(env),
        testcontainers=importlib.util.find_spec("testcontainers") is not None,
    )


def find_java(environ: Mapping[str, str]) -> str | None:
    """Return the ``java`` of ``JAVA_HOME``, else of the ``PATH``."""
    if home := environ.get("JAVA_HOME"):
        program = Path(home) / "bin" / "java"
        if os.access(program, os.X_OK):
            return str(program)
    return shutil.which("java", path=environ.get("PATH"))


def java_major(java: str | None) -> int | None:
    """Ask ``java`` for its major version; None when it does not run (as macOS's stub)."""
    if java is None:
        return None
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_java_version(answer.stderr + answer.stdout)


def parse_java_version(text: str) -> int | None:
    """Return the major version in the output of ``java -version``: ``1.8.0_292`` is 8."""
    match = _JAVA_VERSION.search(text)
    return int(match[1]) if match else None


def home_version(home: Path) -> int | None:
    """Return the major version of the broker jar in ``home/libs``, None when there is none."""
    for jar in sorted((home / "libs").glob("kafka_2.*.jar")):
        if match := _BROKER_JAR.fullmatch(jar.name):
            return int(match[1])
    return None


def find_docker(environ: Mapping[str, str]) -> str | None:
    """Return the address at which a Docker engine accepts connections, or None."""
    if host := environ.get("DOCKER_HOST"):
        if not host.startswith("unix://"):
            return host
        sockets = [Path(host.removeprefix("unix://"))]
    else:
        sockets = [Path("/var/run/docker.sock"), Path.home() / ".docker" / "run" / "docker.sock"]
    return next((f"unix://{path}" for path in sockets if _answers(path)), None)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
