"""Become a program that does not outlive the driver: ``python tied.py DRIVER COMMAND...``.

Started by path, knows only the standard library; the process id stays the program's. On systems
other than Linux the program may outlive a driver that is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); it holds across exec


def main(driver: int, command: list[str]) -> None:
    """Ask the kernel for a SIGKILL at the driver's end, and become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:  # it died before we asked
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - that is what this is for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
