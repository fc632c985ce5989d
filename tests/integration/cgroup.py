"""A group of processes that the kernel gives so much memory and no more, ending what wants more."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from integration.scene import eventually

ROOT = Path("/sys/fs/cgroup")


class NoGroup(Exception):
    """No such group can be made here; says why."""


class MemoryGroup:
    """A control group of the kernel, of the older kind (v1) or the newer (v2)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def entrance(self) -> str:
        """The file to which a process writes its id to be in it, with all that it starts."""
        return str(self._folder / "cgroup.procs")

    @property
    def killed(self) -> int:
        """How many processes the kernel has ended for the memory they wanted."""
        for name in ("memory.events", "memory.oom_control"):
            if (file := self._folder / name).exists():
                found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
                return int(found[1]) if found else 0
        return 0

    def limit(self, megabytes: int) -> None:
        """Give it so much, and nothing of the swap space where there is any."""
        size = str(megabytes << 20)
        new = (self._folder / "memory.max").exists()
        names = (
            {"memory.max": size, "memory.swap.max": "0"}
            if new
            else {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size}
        )
        for name, value in names.items():
            # What limits swap space is not there where the kernel has none.
            if (file := self._folder / name).exists():
                file.write_text(value)


@contextlib.contextmanager
def memory_group(megabytes: int) -> Iterator[MemoryGroup]:
    """Make a group and remove it, when all of its processes have ended.

    Raises:
        NoGroup: it cannot be made.
    """
    folder = _made()
    try:
        group = MemoryGroup(folder)
        try:
            group.limit(megabytes)
            _enter_for_a_moment(group)
        except OSError as error:
            raise NoGroup(f"{folder}: {error}") from error
        yield group
    finally:
        # The children of a worker that was killed end just after it.
        eventually(lambda: _removed(folder), f"{folder} is left by all")


def _enter_for_a_moment(group: MemoryGroup) -> None:
    """See whether a process of ours may be put into it."""
    with subprocess.Popen(["sleep", "60"]) as guest:
        try:
            Path(group.entrance).write_text(str(guest.pid))
        finally:
            guest.kill()


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _made() -> Path:
    """A new folder in the group that this process is in, so that nobody else's limits are left."""
    tried: list[str] = []
    for parent, needed in _places():
        folder = parent / f"streamjobs-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError as error:
            tried.append(f"{parent}: {error.strerror}")
            continue
        if os.access(folder / needed, os.W_OK):
            return folder
        folder.rmdir()
        tried.append(f"{parent}: has no {needed} for groups in it")
    raise NoGroup("; ".join(tried) or f"no memory groups in {ROOT}")


def _places() -> Iterator[tuple[Path, str]]:
    """Where a group may be made, and what it then has: for v2 it may have to be above ours."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except FileNotFoundError:  # no Linux
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        own = path.lstrip("/")
        if "memory" in controllers.split(","):
            yield ROOT / "memory" / own, "memory.limit_in_bytes"
        elif not controllers and (ROOT / "cgroup.controllers").exists():
            at = ROOT / own
            yield from (
                (each, "memory.max") for each in (at, *at.parents) if ROOT in (each, *each.parents)
            )
