"""The command that all others hang from: help, errors in one line, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamjobs import errors
from streamjobs.cli import main
from streamjobs.cli.app_loader import AppLoader


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("STREAMJOBS_APP", raising=False)
    return CliRunner()


def planted(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``streamjobs status`` raise."""

    @click.command()
    @click.option("-q")
    def command(q: str) -> None:
        raise error

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: command)


def test_help_names_every_command_and_imports_none() -> None:
    program = (
        "import sys; from streamjobs.cli.main import COMMANDS, cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "there = [m for m in sys.modules if m.startswith('streamjobs.cli.')]\n"
        "assert sorted(there) == ['streamjobs.cli.app_loader', 'streamjobs.cli.ending',"
        " 'streamjobs.cli.main', 'streamjobs.cli.output'], there\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in main.COMMANDS)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_where_the_table_says(runner: CliRunner, name: str) -> None:
    result = runner.invoke(main.cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_version(runner: CliRunner) -> None:
    result = runner.invoke(main.cli, ["--version"])
    assert (result.exit_code, result.output[:11]) == (0, "streamjobs ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("a"), 2),
        (errors.DefinitionError("a"), 2),
        (errors.InvalidArguments("job", ("n: bad",)), 2),
        (errors.TopicsError("a"), 1),
        (errors.BrokerUnavailable("a"), 1),
        (errors.AuthenticationError("a"), 1),
        (errors.EnqueueError("a", retriable=True), 1),
        (errors.SchemaUnavailable("a"), 1),
        (click.UsageError("a"), 2),
        (click.ClickException("a"), 1),
    ],
)
def test_errors_are_a_line_and_a_code(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    planted(monkeypatch, error)
    result = runner.invoke(main.cli, ["status"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_every_problem_has_a_line(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, errors.SettingsError("one", "two"))
    result = runner.invoke(main.cli, ["status"])
    assert result.stderr == "Error: 2 problems:\n  - one\n  - two\n"


def test_errors_cannot_drive_the_terminal(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, errors.EnqueueError("\x1b[2Jgone", retriable=False))
    assert runner.invoke(main.cli, ["status"]).stderr == "Error: \\x1b[2Jgone\n"


def test_an_interrupt_is_quiet(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, KeyboardInterrupt())
    result = runner.invoke(main.cli, ["status"])
    assert (result.exit_code, result.output) == (130, "")


def test_an_interrupt_says_how_far_it_came(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("at item 7; sent before it: 6")
    planted(monkeypatch, interrupt)
    result = runner.invoke(main.cli, ["status"])
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Interrupted at item 7; sent before it: 6\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["status", "--nonsense"], ["enqueue"], ["enqueue", "j", "--tag", "a"]],
)
def test_wrong_usage_exits_2(runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(main.cli, arguments).exit_code == 2


def test_a_reason_that_no_dead_letter_has_is_refused(runner: CliRunner) -> None:
    result = runner.invoke(main.cli, ["dlq", "list", "-q", "mail", "--reason", "rejectd"])
    assert result.exit_code == 2
    assert "'rejectd' is not one of 'exhausted', 'crashed'" in result.stderr


def test_a_command_that_needs_an_app_says_how_to_name_it(runner: CliRunner) -> None:
    result = runner.invoke(main.cli, ["status"])
    assert result.exit_code == 2
    assert "-A module:app" in result.stderr
    assert "STREAMJOBS_APP" in result.stderr


def test_the_app_comes_from_option_or_environment(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[AppLoader] = []
    command = click.Command("status", callback=click.pass_obj(seen.append))
    monkeypatch.setattr(main.LazyGroup, "get_command", lambda *_: command)
    runner.invoke(main.cli, ["status"])
    runner.invoke(main.cli, ["status"], env={"STREAMJOBS_APP": "env:app"})
    runner.invoke(main.cli, ["-A", "opt:app", "status"], env={"STREAMJOBS_APP": "env:app"})
    assert [loader.spec for loader in seen] == [None, "env:app", "opt:app"]
    assert [loader.app_given for loader in seen] == [False, True, True]


def test_a_pipe_that_closes_is_no_traceback(tmp_path: Path) -> None:
    program = (
        "import click\n"
        "from streamjobs.cli import main\n"
        "from streamjobs.cli.output import write_json\n"
        "@click.command()\n"
        "def many():\n"
        "    for n in range(100_000): write_json({'n': n})\n"
        "main.LazyGroup.get_command = lambda *_: many\n"
        "main.main()\n"
    )
    path = tmp_path / "many.py"
    path.write_text(program)
    with subprocess.Popen(
        [sys.executable, str(path), "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b'{"n": 0}\n'
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_an_output_without_the_characters_gets_escapes_and_plain_lines(
    tmp_path: Path, encoding: str
) -> None:
    program = (
        "import click\n"
        "from streamjobs.cli import main\n"
        "from streamjobs.cli.output import say, table\n"
        "@click.command()\n"
        "def words():\n"
        "    table(['word'], [['\u6f22']])\n"
        "    say('\u6f22')\n"
        "main.LazyGroup.get_command = lambda *_: words\n"
        "main.main()\n"
    )
    path = tmp_path / "words.py"
    path.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path), "status"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=60,
    )
    lines = done.stdout.decode(encoding).splitlines()
    assert lines[0] == "+------+"
    assert lines[1] == "| word |"
    assert lines[3].startswith("| \\u6f22")
    assert lines[-1] == "\\u6f22"
