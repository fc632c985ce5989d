"""JSON for programs, and lines for people that make a terminal do nothing."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamjobs.cli import output


class Colour(enum.StrEnum):
    RED = "r"


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (b"\xff", "/w=="),
        (datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC), "2026-01-02T03:04:05.006000Z"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))), "2026-01-02T02:00:00Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(seconds=1.5), 1.5),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "RED"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, True),
        (2**63, 2**63),
        (OrderedDict(a=[(1, None)]), {"a": [[1, None]]}),
    ],
)
def test_values_become_json(value: object, want: object) -> None:
    assert json.loads(output.to_json(value)) == want


def test_json_is_one_line_of_ascii() -> None:
    text = output.to_json({"a": "\x1b[31m\n\u202eé"})
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é 漢", "é 漢"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\u202egnp", "\\u202egnp"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert output.inert(text) == shown


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    assert output.inert(text).isprintable()


def test_tables_show_hostile_cells_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("key", "n"), [("[red]\x1b]0;x\x07[/red]", 1234567), (None, None)])
    text = capsys.readouterr().out
    assert "[red]\\x1b]0;x\\x07[/red]" in text
    assert "1,234,567" in text
    assert "\x1b" not in text


def test_tables_into_a_pipe_cut_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    output.table(("a", "b"), [(long, long)])
    assert f"{long} │ {long}" in capsys.readouterr().out


def test_tables_into_a_pipe_look_as_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given cells of all kinds, wide characters among them
    columns = ("name", "count", "漢字")
    rows: list[tuple[object, ...]] = [("é", 1234567, None), ("漢 字", None, "\x1b["), ("", 3, True)]
    for some in (rows, []):
        # when they are written to a pipe, and to a terminal that is wide enough
        output.table(columns, some)
        piped = capsys.readouterr().out
        with monkeypatch.context() as wide:
            wide.setenv("COLUMNS", "200")
            wide.setenv("TERM", "dumb")
            wide.setattr("sys.stdout.isatty", lambda: True)
            output.table(columns, some)
        # then no line differs
        assert capsys.readouterr().out.splitlines() == piped.splitlines()
