from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamjobs import failpoints
from streamjobs.errors import SettingsError
from streamjobs.failpoints import HIT_BYTES, POINTS, VARIABLE, Failpoints

SOURCES = Path(failpoints.__file__).parent
PROGRAM = "from streamjobs.failpoints import hit\nfor _ in range(5): hit('cycle.taken')"


def run(value: str, *flags: str) -> int:
    command = [sys.executable, *flags, "-c", PROGRAM]
    return subprocess.run(command, env={**os.environ, VARIABLE: value}, check=False).returncode


def test_nothing_happens_where_the_variable_is_not_set() -> None:
    assert VARIABLE not in os.environ
    assert failpoints.hit is failpoints._inert
    assert not failpoints.ACTIVE


def test_hits_are_lines_of_one_size(tmp_path: Path) -> None:
    points = Failpoints(str(tmp_path / "hits"))

    points.hit("cycle.taken")
    points.hit("cycle.transaction-done")

    lines = (tmp_path / "hits").read_bytes().splitlines(keepends=True)
    assert {len(line) for line in lines} == {HIT_BYTES}
    assert lines[1].split()[:2] == [b"cycle.transaction-done", b"%d" % os.getpid()]


def test_it_kills_at_the_third_hit_and_the_hit_is_there(tmp_path: Path) -> None:
    hits = tmp_path / "hits"

    assert run(f"{hits};cycle.taken=kill@3") == -signal.SIGKILL

    assert [line.split()[3] for line in hits.read_text().splitlines()] == ["-", "-", "kill"]


def test_an_optimised_build_has_none(tmp_path: Path) -> None:
    assert run(f"{tmp_path / 'hits'};cycle.taken=kill@3", "-O") == 0

    assert not (tmp_path / "hits").exists()


@pytest.mark.parametrize("order", ["cycle.take=kill@1", "cycle.taken=burn@1", "cycle.taken=kill"])
def test_an_order_that_is_none_is_refused(tmp_path: Path, order: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(order))):
        Failpoints(f"{tmp_path / 'hits'};{order}")


def test_a_place_has_to_be_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="add it to POINTS"):
        Failpoints(str(tmp_path / "hits")).hit("cycle.took")


def test_every_place_that_is_listed_is_in_the_code() -> None:
    code = "".join(p.read_text(encoding="utf-8") for p in SOURCES.rglob("*.py"))

    assert set(re.findall(r'\bhit\("([^"]+)"\)', code)) == set(POINTS)


def test_what_stands_where_records_are_handled_has_none() -> None:
    for layer in ("engine", "executors", "codec"):
        code = "".join(p.read_text(encoding="utf-8") for p in (SOURCES / layer).rglob("*.py"))
        assert "failpoints" not in code


def test_a_thread_that_stops_the_process_is_not_past_its_place(tmp_path: Path) -> None:
    # Given threads beside the main one, each in a process of its own, that write behind the place
    behind = tmp_path / "behind"
    program = (
        "import os, threading\nfrom streamjobs.failpoints import hit\n"
        f"file = os.open({str(behind)!r}, os.O_CREAT | os.O_WRONLY)\n"
        "def act():\n    hit('cycle.taken')\n    os.write(file, b'past it')\n"
        "thread = threading.Thread(target=act)\nthread.start()\nthread.join()"
    )
    environment = {**os.environ, VARIABLE: f"{tmp_path / 'hits'};cycle.taken=stop@1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=environment) for _ in range(4)
    ]

    # When the processes stand still
    stopped = [os.WIFSTOPPED(os.waitpid(each.pid, os.WUNTRACED)[1]) for each in processes]

    # Then none has
    for process in processes:
        process.kill()
        process.wait()
    assert all(stopped)
    assert behind.read_bytes() == b""
