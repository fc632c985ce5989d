"""Kafka's own jars, fetched once per machine with Maven into the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.brokers.selection import KAFKA_VERSION

POM = Path(__file__).with_name("pom.xml")
_FETCH_SECONDS = 600  # 54 MB; 8 s on a quick line


def jars_folder() -> Path:
    """Where the jars are kept: ``streamjobs/kafka-VERSION`` in the user's cache folder."""
    return platformdirs.user_cache_path("streamjobs") / f"kafka-{KAFKA_VERSION}"


def fetched_jars() -> Path | None:
    """Return the folder of the jars when they are there, complete, else None."""
    folder = jars_folder()
    return folder if folder.is_dir() else None


def fetch_jars(maven: str | None, say: Callable[[str], object]) -> Path:
    """Return the folder of Kafka's jars, fetching them when they are not there yet.

    Safe to call from several processes at once: one fetches, the others wait. The folder appears
    by a rename, so it is never seen half full.

    Args:
        maven: the ``mvn`` program; may be None when the jars were fetched before.
        say: takes one line for the user before a download begins.

    Raises:
        BrokerSetupError: when Maven is missing, fails, or takes over ten minutes.
    """
    folder = jars_folder()
    if folder.is_dir():
        return folder
    if maven is None:
        raise BrokerSetupError(f"{folder} is not there, and no Maven (mvn) to fill it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            return folder
        for left in folder.parent.glob(f"{folder.name}.fetch-*"):  # whoever held the lock died
            shutil.rmtree(left, ignore_errors=True)
        say(f"fetching Apache Kafka {KAFKA_VERSION} with Maven, once, into {folder} (54 MB) ...")
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.fetch-", dir=folder.parent))
        try:
            _copy_dependencies(maven, fresh)
            fresh.chmod(0o755)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the system frees it if this process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _copy_dependencies(maven: str, into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="streamjobs-pom-") as work:
        pom = shutil.copy(POM, work)  # Maven may write beside its pom; the package stays clean
        command = [maven, "-q", "-B", "-f", pom, "dependency:copy-dependencies"]
        try:
            done = subprocess.run(
                [*command, f"-DoutputDirectory={into}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_FETCH_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerSetupError(f"{maven} did not fetch Kafka's jars: {error}") from error
    if done.returncode != 0 or not any(into.glob("kafka_2.13-*.jar")):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BrokerSetupError(
            f"{maven} did not fetch Kafka's jars (exit {done.returncode}); its last lines:\n{tail}"
        )
