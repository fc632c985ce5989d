"""What commands write: JSON for programs, tables and plain lines for people.

Job names, keys, arguments and error messages come from outside. What a terminal would obey (escape
sequences, carriage returns, characters that turn the direction of writing) is shown as an escape.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from io import TextIOWrapper
from types import NoneType
from typing import Any

import click

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON instead of a table, for programs."
)


def inert(text: str, *, keep: str = "") -> str:
    """Return text with everything that is not printable, but for ``keep``, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def plain(value: Any) -> Any:
    """Return what JSON can hold: bytes as base64, times as ISO 8601, decimals as text."""
    if type(value) in _AS_THEY_ARE:  # nearly all there is, in lists of any length
        return value
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    for types, form in _FORMS:
        if isinstance(value, types):
            return form(value)
    return str(value)


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _same(value: Any) -> Any:
    return value


_AS_THEY_ARE = frozenset({NoneType, bool, int, str})
# The first that fits: an enum may be text too, a bool is an int, a datetime is a date.
_FORMS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.name),
    ((NoneType, bool, int, str), _same),
    (float, lambda value: value if math.isfinite(value) else str(value)),
    ((bytes, bytearray), lambda value: base64.b64encode(value).decode("ascii")),
    (datetime, _iso),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: value.total_seconds()),
    (Mapping, lambda value: {str(plain(name)): plain(item) for name, item in value.items()}),
    ((list, tuple, set, frozenset), lambda value: [plain(item) for item in value]),
)


def to_json(value: Any) -> str:
    """Return one line of JSON, ASCII only, so that no terminal finds anything to obey in it."""
    return json.dumps(plain(value), allow_nan=False)


def write_json(value: Any) -> None:
    """Write one line of JSON to standard output."""
    click.echo(to_json(value))


def say(text: str) -> None:
    """Write a line for people to standard output."""
    click.echo(inert(text, keep="\n"))


def complain(text: str) -> None:
    """Write a line for people to standard error."""
    click.echo(inert(text, keep="\n"), err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; numbers are set to the right with commas at the thousands."""
    values = [list(row) for row in rows]
    right = [
        bool(values) and all(type(row[place]) in (int, NoneType) for row in values)
        for place in range(len(columns))
    ]
    lines = [[cell(value) for value in row] for row in values]
    if sys.stdout.isatty():
        _fitted(columns, lines, right)
    else:
        click.echo("\n".join(_unfitted(columns, lines, right)))


def _fitted(columns: Sequence[str], lines: list[list[str]], right: list[bool]) -> None:
    """Write a table that keeps to the terminal's width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table()
    for name, numbers in zip(columns, right, strict=True):
        made.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        made.add_row(*map(Text, line))
    Console(highlight=False, markup=False, emoji=False).print(made)


def _unfitted(columns: Sequence[str], lines: list[list[str]], right: list[bool]) -> Iterator[str]:
    """Yield the same table for a pipe or a file: nothing is cut or folded there.

    Half a millisecond a row is what rich takes: a minute for the dead letters of a bad day.
    """
    from rich.cells import cell_len

    widths = [
        max(map(cell_len, (name, *(line[place] for line in lines))))
        for place, name in enumerate(columns)
    ]

    ascii_only = not _can_write("┏┳┓━┃┡╇┩│└┴┘─")

    def rule(ends: str, dash: str) -> str:
        if ascii_only:
            ends, dash = "+++", "-"
        return ends[0] + ends[1].join(dash * (width + 2) for width in widths) + ends[2]

    def row(line: Sequence[str], bar: str) -> str:
        cells = []
        for text, width, numbers in zip(line, widths, right, strict=True):
            room = " " * (width - cell_len(text))
            cells.append(f" {room}{text} " if numbers else f" {text}{room} ")
        bar = "|" if ascii_only else bar
        return bar + bar.join(cells) + bar

    yield rule("┏┳┓", "━")
    yield row(columns, "┃")
    yield rule("┡╇┩", "━")
    yield from (row(line, "│") for line in lines)
    yield rule("└┴┘", "─")


def _can_write(text: str) -> bool:
    """Whether standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def escape_unwritable() -> None:
    """Have what an output's encoding lacks written as an escape, as ``inert`` does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def cell(value: Any) -> str:
    """Return a table cell: ``-`` for what is not known."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case str():
            return inert(value)
    return inert(to_json(value))
