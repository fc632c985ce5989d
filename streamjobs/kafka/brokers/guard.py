"""Run a program that must not outlive its owner; started by path, knows only the standard library.

``python guard.py OWNER FOLDER LOG COMMAND...`` runs COMMAND with its output appended to LOG, and
exits as it exits. One byte on standard input asks for more: ``T`` ends the program with SIGTERM,
``K`` with SIGKILL. When the owner (a process id, this one's parent) is gone, however it went, the
program is killed and FOLDER is removed. If this guard itself is killed, Linux kills the program;
elsewhere it would live on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK_SECONDS = 0.2


def main(arguments: list[str]) -> int:
    """Run the program to its end and return its exit code (128 + signal, as shells do)."""
    owner, folder, log, *command = arguments
    # Asked to stop by anyone else: leave through the `finally` below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with Path(log).open("ab") as output:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_dies_with_parent(),  # noqa: PLW1509  this process has one thread
        )
    try:
        if not _watch(program, int(owner)):
            _abandon(program, Path(folder))
    finally:
        program.kill()
        code = program.wait()
    return code if code >= 0 else 128 - code


def _watch(program: subprocess.Popen[bytes], owner: int) -> bool:
    """Obey until the program has ended (True) or the owner is gone (False).

    The end of standard input alone would not do: a child that the owner forked holds it open.
    """
    while program.poll() is None:
        if os.getppid() != owner:
            return False
        if select.select([0], [], [], _LOOK_SECONDS)[0]:
            orders = os.read(0, 16)
            if not orders:
                return False
            program.send_signal(signal.SIGKILL if b"K" in orders else signal.SIGTERM)
    return True


def _abandon(program: subprocess.Popen[bytes], folder: Path) -> None:
    program.kill()
    program.wait()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other nodes of the cluster may still be in there
        folder.parent.rmdir()


def _dies_with_parent() -> Callable[[], None] | None:
    """Return what the child calls before it becomes the program: Linux only, else None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    guard = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before we asked
            os._exit(1)

    return ask


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
