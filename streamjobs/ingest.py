"""Rows from CSV and JSON lines: the reading alone, whatever the bytes are like. Pure.

A row that cannot be read is told with its line and its reason, and reading goes on behind it.
Memory is bounded by the longest row that is let through.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from io import TextIOWrapper
from typing import Any, BinaryIO

from streamjobs.errors import SettingsError
from streamjobs.wording import counted

# Far above what a broker takes as one record, so nothing that could be a job is refused here.
MAX_ROW_CHARS = 4 * 1024 * 1024
# What is kept of a row that could not be read, for the rejects file.
_KEPT_CHARS = 10_000
# Past both ends of a double (5e-324, 1.8e308). A few characters can say a number of 10**8 digits,
# which somebody would have to write out to make it whole.
_MOST_EXPONENT, _MOST_NUMBER_CHARS = 400, 4300


class Row(dict[str, Any]):
    """One row's arguments by name.

    Attributes:
        line: the physical line it begins on, from 1.
        source: what stood there: cells by column, or the object as written.
        key: what its key column holds; None where no key column was asked for.
    """

    __slots__ = ("key", "line", "source")

    def __init__(
        self, args: Mapping[str, Any], line: int, source: Any, key: str | None = None
    ) -> None:
        super().__init__(args)
        self.line, self.source, self.key = line, source, key


@dataclass(frozen=True)
class Reject:
    """A row that was left out: its first line, why, and what stood there."""

    line: int
    reason: str
    row: Any


@dataclass(frozen=True)
class Columns:
    """How columns become arguments.

    Attributes:
        parameters: every argument of the job, and whether a call has to give it.
        mapping: column to argument; to ``""`` for a column that is left out.
        key: the column that holds the ordering key, or None.
    """

    parameters: Mapping[str, bool]
    mapping: Mapping[str, str]
    key: str | None = None

    def argument(self, column: str) -> str:
        """The argument that a column feeds; empty for one that is left out."""
        name = self.mapping.get(column, column)
        return "" if column == self.key and name not in self.parameters else name

    def check_mapping(self) -> None:
        """Look at what does not depend on the file.

        Raises:
            SettingsError: with every argument that is mapped to and is not there.
        """
        takes = ", ".join(self.parameters) or "none"
        problems = [
            f"--map {column}={name}: there is no argument {name!r}; the job takes: {takes}"
            for column, name in self.mapping.items()
            if name and name not in self.parameters
        ]
        if problems:
            raise SettingsError(*problems)

    def check_header(self, header: Sequence[str]) -> None:
        """Look at the columns of a CSV file as a whole, before any row is used.

        Raises:
            SettingsError: with every column that is unknown, missing or there twice.
        """
        feeds = [name for column in header if (name := self.argument(column))]
        problems = [f"column {c!r} is there twice" for c in _twice(header)]
        problems += [f"two columns feed argument {name!r}" for name in _twice(feeds)]
        problems += [
            f"column {column!r} is no argument of the job: --map {column}=ARGUMENT says which it "
            f"is, --map {column}= leaves it out"
            for column in header
            if (name := self.argument(column)) and name not in self.parameters
        ]
        problems += [
            f"no column feeds argument {name!r}: --map COLUMN={name} says which does"
            for name, required in self.parameters.items()
            if required and name not in feeds
        ]
        wanted = [*self.mapping, *([self.key] if self.key else [])]
        problems += [
            f"there is no column {column!r}, which the command line names"
            for column in dict.fromkeys(wanted)
            if column not in header
        ]
        if problems:
            *others, last = dict.fromkeys(problems)
            raise SettingsError(*others, f"{last}; the file's columns are: {', '.join(header)}")


def read_csv(
    stream: BinaryIO, columns: Columns, on_reject: Callable[[Reject], None]
) -> Iterator[Row]:
    """Return the rows of a CSV file with a header: commas, double quotes, UTF-8, BOM or none.

    The header is read and checked at once, the rows as they are taken. Values are text still: the
    job's hints say what they mean.

    Args:
        stream: the file.
        columns: what becomes of them.
        on_reject: told each row that cannot be read.

    Raises:
        SettingsError: the header cannot be used.
    """
    columns.check_mapping()
    # The csv module's own bound, 128 KiB, is one for the whole process.
    csv.field_size_limit(MAX_ROW_CHARS)
    lines = _Lines(TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline=""))
    header = _header(lines)
    columns.check_header(header)
    return _under(header, lines, columns, on_reject)


def _under(
    header: list[str], lines: _Lines, columns: Columns, on_reject: Callable[[Reject], None]
) -> Iterator[Row]:
    targets = [columns.argument(column) for column in header]
    key_at = header.index(columns.key) if columns.key else None
    for line, cells in _csv_rows(lines, on_reject):
        reason = _unfit(cells, header)
        source: Any = dict(zip(header, cells, strict=False)) if reason is None else cells
        if reason is not None:
            on_reject(Reject(line, reason, printable(source)))
            continue
        args = {name: cell for name, cell in zip(targets, cells, strict=True) if name}
        yield Row(args, line, source, None if key_at is None else cells[key_at])


def read_jsonl(
    stream: BinaryIO, columns: Columns, on_reject: Callable[[Reject], None]
) -> Iterator[Row]:
    """Return the rows of JSON lines: one object of arguments per line; blank lines are nothing.

    Numbers with a fraction come as ``Decimal``, so that none of their digits is lost.

    Args:
        stream: the file.
        columns: what becomes of them.
        on_reject: told each line that cannot be read.
    """
    columns.check_mapping()
    lines = _Lines(TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="\n"))
    return _objects(lines, columns, on_reject)


def _objects(lines: _Lines, columns: Columns, on_reject: Callable[[Reject], None]) -> Iterator[Row]:
    while True:
        try:
            text = next(lines)
        except StopIteration:
            return
        except _TooLongError as error:
            on_reject(Reject(error.line, str(error), error.start))
            continue
        if not text.strip():
            continue
        row, reason = _json_row(text, lines.number, columns)
        if row is None:
            on_reject(Reject(lines.number, reason, printable(text.strip())[:_KEPT_CHARS]))
        else:
            yield row


READERS = {"csv": read_csv, "jsonl": read_jsonl}


def parse_object(text: str) -> dict[str, Any]:
    """Return one JSON object; numbers with a fraction as ``Decimal``.

    Raises:
        ValueError: it is not valid JSON, not an object, or has a name twice.
    """
    try:
        value = json.loads(
            text, parse_float=_fraction, parse_constant=_refuse, object_pairs_hook=_pairs
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"must be an object of arguments, not {_json_type(value)}")  # noqa: TRY004
    return value


def printable(value: Any) -> Any:
    r"""Return a row as JSON can hold it.

    Bytes that are no UTF-8 are written as ``\xff``, the half of a pair that JSON can spell as
    ``\ud800``; a ``Decimal`` that is no double stays text.
    """
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:
            return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {printable(name): printable(item) for name, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


class _TooLongError(ValueError):
    def __init__(self, line: int, start: str) -> None:
        self.line, self.start = line, start
        super().__init__(f"a line of more than {MAX_ROW_CHARS:,} characters")


class _Lines:
    """Physical lines, numbered, of bounded length, which can be put back."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self._back: deque[str] = deque()
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.number += 1
        if self._back:
            return self._back.popleft()
        line = self._text.readline(MAX_ROW_CHARS)
        if not line:
            self.number -= 1
            raise StopIteration
        if len(line) == MAX_ROW_CHARS and not line.endswith(("\n", "\r")):
            start = printable(line[:_KEPT_CHARS])
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(MAX_ROW_CHARS)
            raise _TooLongError(self.number, start)
        return line

    def put_back(self, lines: Iterable[str]) -> None:
        """Give these lines out again, next and in this order."""
        again = list(lines)
        self._back.extendleft(reversed(again))
        self.number -= len(again)


class _Recording:
    """Lines as the csv module takes them, remembered until the row is complete."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> _Recording:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return line


def _csv_rows(
    lines: _Lines, on_reject: Callable[[Reject], None]
) -> Iterator[tuple[int, list[str]]]:
    recording = _Recording(lines)
    reader = csv.reader(recording, strict=True)
    while True:
        recording.taken.clear()
        line = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLongError as error:
            taken = [printable("".join(recording.taken))[:_KEPT_CHARS]] if recording.taken else []
            on_reject(Reject(line, str(error), "".join([*taken, error.start])[:_KEPT_CHARS]))
        except csv.Error as error:
            # A quote that nobody closes swallows what follows: give up the first line only.
            first, *rest = recording.taken
            lines.put_back(rest)
            reason = f"not CSV: {error}"
            on_reject(Reject(line, reason, printable(first.rstrip("\r\n"))[:_KEPT_CHARS]))
        else:
            if cells:
                yield line, cells


def _header(lines: _Lines) -> list[str]:
    rejects: list[Reject] = []
    for _, cells in _csv_rows(lines, rejects.append):
        if rejects:
            break
        if any(cell != printable(cell) for cell in cells):
            raise SettingsError("the header is not valid UTF-8: save the file as UTF-8 text")
        return cells
    if rejects:
        raise SettingsError(f"the header cannot be read: {rejects[0].reason}")
    raise SettingsError("the file is empty: it must begin with a line of column names")


def _unfit(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """Say why a row cannot stand under this header, or None when it can."""
    if len(cells) != len(header):
        return f"{counted(len(cells), 'cell')} under a header of {counted(len(header), 'column')}"
    for column, cell in zip(header, cells, strict=True):
        if not cell.isascii() and cell != printable(cell):
            return f"column {column!r} is not valid UTF-8"
    return None


def _json_row(text: str, line: int, columns: Columns) -> tuple[Row | None, str]:
    if not text.isascii() and text != printable(text):
        return None, "not valid UTF-8"
    try:
        value = parse_object(text)
        feeds = [(columns.argument(name), item) for name, item in value.items()]
        twice = _twice([name for name, _ in feeds if name])
        if twice:
            return None, f"two names feed argument {twice[0]!r}"
        key = _json_key(value, columns.key)
    except ValueError as error:
        return None, f"not a JSON object: {error}" if isinstance(
            error, json.JSONDecodeError
        ) else str(error)
    return Row({name: item for name, item in feeds if name}, line, value, key), ""


def _json_key(value: Mapping[str, Any], column: str | None) -> str | None:
    if column is None or value.get(column) is None:
        return None
    key = value[column]
    if isinstance(key, bool | list | dict):
        raise ValueError(f"key {column!r} is {_json_type(key)}: must be text or a number")  # noqa: TRY004
    return str(key)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := _twice([name for name, _ in pairs]):
        raise ValueError(f"name {twice[0]!r} is there twice")
    return dict(pairs)


def _fraction(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or len(text) > _MOST_NUMBER_CHARS or abs(value.adjusted()) > _MOST_EXPONENT:
        raise ValueError(f"number {text[:30]} is out of range")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _json_type(value: Any) -> str:
    names = {
        list: "a list",
        dict: "an object",
        str: "text",
        bool: "a truth value",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]
