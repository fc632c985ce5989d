"""``streamjobs enqueue`` before there is a broker: whatever can be refused is refused first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamjobs.cli import enqueue as module
from streamjobs.cli.main import cli
from streamjobs.errors import BrokerUnavailable
from streamjobs.settings import Settings

APP = """\
from streamjobs import App

app = App("shop")


@app.job
def send_mail(customer: int, template: str = "welcome") -> None: ...


app.queue("urgent", priorities=("high", "low"))


@app.job(queue="urgent")
def send_urgent(customer: int) -> None: ...
"""
BAD = b"colour,template\nred,x\n"


@pytest.fixture(autouse=True)
def no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with an app and files, and no broker anywhere."""

    def connect(settings: Settings) -> None:
        raise BrokerUnavailable("asked for a broker")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "connect", connect)
    path = list(sys.path)
    (tmp_path / "shop_of_enqueue.py").write_text(APP)
    (tmp_path / "bad.csv").write_bytes(BAD)
    (tmp_path / "good.csv").write_bytes(b"customer\n1\n")
    yield
    sys.path[:] = path
    sys.modules.pop("shop_of_enqueue", None)


def run(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["-A", "shop_of_enqueue", "enqueue", *arguments], input=stdin)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send_mail", "--args", '{"customer": "x", "colour": 1}'], ["customer", "colour"]),
        (["send_mail"], ["customer: missing"]),
        (["send_mail", "--args", "[1]"], ["must be an object"]),
        (["send_mail", "--args", "{"], ["--args"]),
        (["send_mail", "--args", "{}", "--key", "customer"], ["go with --from"]),
        (["send_mial", "--args", "{}"], ["did you mean 'send_mail'"]),
        (["send_mail", "--from", "nowhere.csv"], ["nowhere.csv: No such file"]),
        (["send_mail", "--from", "-"], ["--format"]),
        (["send_mail", "--from", "bad.txt"], ["--format"]),
        (["send_mail", "--from", "bad.csv"], ["'colour'", "argument 'customer'"]),
        (["send_mail", "--from", "bad.csv", "--map", "colour=hue"], ["no argument 'hue'"]),
        (["send_mail", "--from", "bad.csv", "--map", "colour"], ["COLUMN=ARGUMENT"]),
        (["send_mail", "--from", "good.csv", "--key", "tail"], ["no column 'tail'"]),
        (["send_mail", "--from", "good.csv", "--args", "{}"], ["not both"]),
        (["send_mail", "--from", "bad.csv", "--rejects", "bad.csv"], ["overwrite"]),
        (["send_mail", "--from", "good.csv", "--rejects", "no/x.jsonl"], ["cannot write rejects"]),
        (["send_mail", "--from", "good.csv", "--resume"], ["--resume"]),
        (["send_mail", "--args", '{"customer": 1}', "--priority", "high"], ["no priorities"]),
        (["send_urgent", "--from", "good.csv", "--priority", "hi"], ["'urgent' has high, low"]),
        (["send_mail", "--from", "good.csv", "--format", "parquet"], ["parquet"]),
    ],
)
def test_wrong_usage_exits_2_before_a_broker_is_asked_for(
    arguments: list[str], said: list[str], tmp_path: Path
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in said), result.stderr
    assert (tmp_path / "bad.csv").read_bytes() == BAD


@pytest.mark.parametrize(
    "arguments",
    [
        ["send_mail", "--args", '{"customer": 1}'],
        ["send_mail", "--from", "good.csv"],
        ["send_urgent", "--from", "good.csv", "--priority", "high"],
        ["send_mail", "--from", "bad.csv", "--map", "colour=customer"],
        ["send_mail", "--from", "-", "--format", "jsonl"],
    ],
)
def test_what_can_be_sent_needs_a_broker(arguments: list[str]) -> None:
    result = run(*arguments, stdin=b'{"customer": 1}\n')
    assert (result.exit_code, result.stderr) == (1, "Error: asked for a broker\n")
