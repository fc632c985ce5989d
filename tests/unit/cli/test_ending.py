"""How processes end whose clients have left threads behind."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys

import pytest

# A library that has left a handler which ends the process, as OpenSSL's may.
PROGRAM = """
import atexit, ctypes, sys
from streamjobs.cli.ending import skip_exit_handlers

library = ctypes.CDLL(None)
library.on_exit(library.abort, None)
library.printf(b"printed by a C library, ")
atexit.register(print, "Python's own handler")
if "skip" in sys.argv:
    skip_exit_handlers()
print("written before", end=", ")
sys.exit(int(sys.argv[-1]))
"""
FAULT = """
import ctypes
from streamjobs.cli.ending import tell_where_it_crashed

def crashes():
    ctypes.string_at(0)

tell_where_it_crashed()
crashes()
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="on_exit is glibc's")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@glibc
@pytest.mark.parametrize("code", [0, 3, 143])
def test_what_libraries_do_at_exit_is_left_out_and_what_python_does_is_not(code: int) -> None:
    done = python("-c", PROGRAM, "skip", str(code))

    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == "printed by a C library, written before, Python's own handler\n"


@glibc
def test_else_such_a_handler_ends_the_process() -> None:
    assert python("-c", PROGRAM, "0").returncode == -signal.SIGABRT


def test_a_fault_inside_a_library_tells_where_python_was() -> None:
    done = python("-c", FAULT)

    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr
    assert "in crashes" in done.stderr


def test_without_stderr_nothing_is_told() -> None:
    done = python("-c", f"import sys; sys.stderr = None\n{FAULT.rpartition('crashes()')[0]}")

    assert done.returncode == 0
