"""The file to which workers write what failpoints they passed, read as it grows."""

from __future__ import annotations

from pathlib import Path

from history.model import Hit

from streamjobs.failpoints import HIT_BYTES


class Hits:
    """What was passed so far.

    Args:
        path: of the file; it need not be there yet.

    Attributes:
        all: every hit that was read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._read = path, 0
        self.all: list[Hit] = []

    def read_on(self) -> list[Hit]:
        """Read the hits that are new since the last time."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        whole = len(raw) // HIT_BYTES * HIT_BYTES
        self._read += whole
        lines = (raw[at : at + HIT_BYTES].split() for at in range(0, whole, HIT_BYTES))
        new = [Hit(n.decode(), int(p), int(t), a.decode()) for n, p, t, a in lines]
        self.all += new
        return new
