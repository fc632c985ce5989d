"""``streamjobs worker`` before there is a broker."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamjobs.cli.main import cli
from streamjobs.worker import runner

APP = """\
from streamjobs import App

app = App("shop")
app.queue("mail")
app.queue("bills")
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with an app of two queues; signals are put back behind the command."""
    (tmp_path / "shop_of_worker.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_of_worker", raising=False)
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in handlers:
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "queues"),
    [
        ((), ("mail", "bills")),
        (("-q", "bills"), ("bills",)),
        (("-q", "bills", "-q", "mail", "-q", "bills"), ("bills", "mail")),
    ],
)
def test_each_queue_is_run_once(
    arguments: tuple[str, ...], queues: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    class FakeWorker:
        def __init__(self, _source: Any, names: tuple[str, ...], _options: Any) -> None:
            asked.append(names)

        def stop(self) -> None: ...

        def run(self) -> None: ...

        def report(self) -> list[dict[str, Any]]:
            return []

    monkeypatch.setattr(runner, "Worker", FakeWorker)

    result = CliRunner().invoke(cli, ["-A", "shop_of_worker", "worker", *arguments])

    assert result.exit_code == 0, result.output
    assert asked == [queues]


@pytest.mark.parametrize(
    ("interval", "budget", "refused"),
    [(None, "299", False), (None, "300", True), ("15001", "15", False), ("15001", "16", True)],
)
def test_a_drain_that_outlasts_the_groups_patience_is_refused(
    interval: str | None, budget: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interval is not None:
        monkeypatch.setenv("STREAMJOBS_KAFKA_MAX_POLL_INTERVAL_MS", interval)
    monkeypatch.setattr(runner.Worker, "run", lambda _: None)

    result = CliRunner().invoke(cli, ["-A", "shop_of_worker", "worker", "--drain-budget", budget])

    assert result.exit_code == (2 if refused else 0), result.output
    told = f"--drain-budget {budget} s must be below max.poll.interval.ms="
    assert (told in result.output) is refused


@pytest.mark.parametrize(
    ("arguments", "drained", "code"),
    [(("--drain",), False, 143), (("--drain",), True, 0), ((), False, 0)],
)
def test_a_drain_that_was_stopped_does_not_say_that_all_is_done(
    arguments: tuple[str, ...], drained: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts go on when all is done, and only then."""

    class Stopped:
        def __init__(self, *_: Any) -> None:
            self.drained = drained

        def stop(self) -> None: ...

        def run(self) -> None:
            signal.raise_signal(signal.SIGTERM)

        def report(self) -> list[dict[str, Any]]:
            return [{"queue": "mail", "dead": 0}]

    monkeypatch.setattr(runner, "Worker", Stopped)

    done = CliRunner().invoke(cli, ["-A", "shop_of_worker:app", "worker", "--json", *arguments])

    assert done.exit_code == code
    assert json.loads(done.stdout.splitlines()[0])["queue"] == "mail"
