"""What README.md and examples/ say is so: they are run here, and their output compared."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamjobs.demo.dataset import find_dataset
from streamjobs.demo.flights import read_flights
from streamjobs.demo.rules import expect
from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

Run = Callable[[str], subprocess.CompletedProcess[str]]


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def session() -> list[tuple[str, str]]:
    """The commands of the README's example, each with the output it shows."""
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(blocks("console")), re.MULTILINE)
    assert len(steps) >= 5
    return steps


# What differs from run to run.
VARIES = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"[A-Za-z0-9+/=_-]{22,24}:\d+:\d+", "ORIGIN"),
    (r'File ".*/', 'File "'),
    (r'"seconds": [\d.]+', '"seconds": N'),
    (r"in [\d.]+ s \([\d,]+ jobs/s\)", "in N s (N jobs/s)"),
    (r"^(offset: +)\d+$", r"\1N"),
    (r"\s+$", ""),
)


def settled(output: str) -> str:
    """Output without what differs from run to run."""
    for pattern, instead in VARIES:
        output = re.sub(pattern, instead, output, flags=re.MULTILINE)
    return output


@pytest.fixture
def run(tmp_path: Path, kafka_broker: Broker, app_name: str, group_protocol: GroupProtocol) -> Run:
    """Run a shell command as a reader would, in an empty folder, with topics of its own."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith("STREAMJOBS_")}
    environ = {
        **clean,
        "PATH": f"{BIN}{os.pathsep}{clean['PATH']}",
        "STREAMJOBS_BOOTSTRAP_SERVERS": kafka_broker.bootstrap,
        "STREAMJOBS_NAMESPACE": app_name,
        "STREAMJOBS_GROUP_PROTOCOL": group_protocol,
    }

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return shell


def test_the_example_is_the_file_in_examples() -> None:
    (example,) = blocks("python")
    assert example == (ROOT / "examples" / "shop.py").read_text(encoding="utf-8")


def test_the_example_does_what_the_readme_shows(run: Run, tmp_path: Path, app_name: str) -> None:
    # given the example as a reader saves it
    (tmp_path / "shop.py").write_text(blocks("python")[0], encoding="utf-8")
    for command, shown in session():
        # when each command is run in turn
        done = run(command)
        # then it prints what is shown, but for ids, times and rates
        assert done.returncode == (3 if "rejected:" in shown else 0), done.stderr
        assert settled(done.stdout.replace(app_name, "shop")) == settled(shown), command


@pytest.mark.timeout(60)
def test_the_broker_command_starts_one_where_it_says(tmp_path: Path) -> None:
    (command,) = set(re.findall(r"`(streamjobs broker [^`]*)`", README))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = command.replace("9092", port).split()[1:]
    with subprocess.Popen(
        [BIN / "streamjobs", *arguments, "--engine", "kafka"],
        cwd=tmp_path,
        # A Kafka that the tests were given has a port of its own.
        env={n: v for n, v in os.environ.items() if n != "STREAMJOBS_TEST_BOOTSTRAP"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as broker:
        assert broker.stdout is not None
        try:
            assert broker.stdout.readline() == f"127.0.0.1:{port}\n"
        finally:
            broker.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("name", ["signups", "web"])
def test_an_example_runs_as_its_docstring_says(run: Run, tmp_path: Path, name: str) -> None:
    # given the examples as they stand
    shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
    docstring = ast.get_docstring(ast.parse((tmp_path / f"{name}.py").read_text())) or ""
    commands = re.findall(r"^ {4}(.*)$", docstring, re.MULTILINE)
    assert len(commands) == 4
    # when its commands are run in turn
    logged = ""
    for command in commands:
        done = run(command)
        logged += done.stderr
        exits = re.search(r"# exits (\d)", command)
        assert done.returncode == (int(exits[1]) if exits else 0), done.stderr
    # then the last one shows what came of it
    if name == "web":
        assert done.stdout == "100 5050\n"
    else:
        assert "a paid plan without a fee" in done.stdout
        assert "1 dead letter in queue accounts" in done.stdout
        assert (tmp_path / "signups.csv.rejects.jsonl").read_text().count("\n") == 1
        assert all(f"to {who}" in logged for who in ("ann@", "bob@", "slow.cy@"))


def test_every_test_that_a_guarantee_names_is_there() -> None:
    section = README.partition("## Guarantees")[2].partition("\n## ")[0]
    guarantees = re.split(r"^(?=\d\. )", section, flags=re.MULTILINE)[1:]
    assert [text[0] for text in guarantees] == list("1234567")
    for text in guarantees:
        named = re.findall(r"`(tests/[^`]+)`", text)
        assert named, f"guarantee {text[0]} names no test"
        for test in named:
            path, *names = test.split("::")
            assert names, f"{test} names a file, not a test"
            assert has((ROOT / path).read_text(encoding="utf-8"), names), f"there is no {test}"


def has(source: str, names: list[str]) -> bool:
    body: list[ast.stmt] = ast.parse(source).body
    for name in names:
        kinds = ast.FunctionDef | ast.ClassDef
        found = [n for n in body if isinstance(n, kinds) and n.name == name]
        if not found:
            return False
        body = found[0].body
    return True


@pytest.mark.timeout(180)
def test_the_table_of_the_demo_is_what_its_rules_come_to() -> None:
    # given what the rules make of all flights
    expected = expect(read_flights(find_dataset(print), limit=None))
    rows = {fate: len(rows) for fate, rows in expected.rows.items()}
    # then the README's table has it
    table = dict(re.findall(r"│ ([a-z/ ]+?) +│ +([\d,]+) │", README))
    wanted = {
        "enqueued": sum(rows.values()),
        "succeeded": rows["booked"],
        "retried": expected.retries,
        "discarded": rows["discarded"],
        "dead": rows["dead"],
    }
    assert {name: int(table[name].replace(",", "")) for name in wanted} == wanted


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, heading = target.partition("#")
            if path.startswith("https://"):
                continue
            file = (page.parent / path) if path else page
            assert file.exists(), f"{page.name} links to {target}"
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert not heading or heading in {h.lower().replace(" ", "-") for h in headings}


def test_make_targets_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test", "test-all"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
