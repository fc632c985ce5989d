"""The rejects file: rows that did not fit, as JSON lines ``{line, reason, row}``."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from streamjobs.cli.output import to_json
from streamjobs.errors import SettingsError
from streamjobs.ingest import Reject, printable


class Rejects:
    """Writes rejects as they come; a context manager.

    A file of an earlier run is emptied at the start, so that what is in it is of this run. Where
    the name was not given, no file is made before there is something to put into it.

    Args:
        path: the file.
        given: whether the user named it.
        source: the file the rows come from, which must be another one; None: standard input.

    Raises:
        SettingsError: it cannot be written, or is the source itself.
    """

    def __init__(self, path: Path, *, given: bool, source: Path | None) -> None:
        self.path, self.count = path, 0
        self._file: TextIO | None = None
        there = path.exists()
        if source is not None and there and source.exists() and path.samefile(source):
            raise SettingsError(f"rejects would overwrite their own source {path}: give --rejects")
        if given or there:
            self._file = self._open()

    def add(self, reject: Reject) -> None:
        """Write one row."""
        self.count += 1
        if self._file is None:
            self._file = self._open()
        line: dict[str, Any] = {
            "line": reject.line,
            "reason": reject.reason,
            "row": printable(reject.row),
        }
        self._file.write(to_json(line) + "\n")

    def _open(self) -> TextIO:
        try:
            return self.path.open("w", encoding="ascii")
        except OSError as error:
            raise SettingsError(f"cannot write rejects to {self.path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
