from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIED = Path(__file__).parents[2] / "chaos" / "tied.py"
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
DRIVER = f"""
import os, subprocess, sys
command = [sys.executable, "-I", "-S", {str(TIED)!r}, str(os.getpid())]
command += [sys.executable, "-c", {SLEEPER!r}]
worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
worker.stdout.readline()
print(worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_worker_does_not_outlive_a_driver_that_is_killed() -> None:
    driver = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, check=False)

    assert driver.returncode == -9
    worker, deadline = int(driver.stdout), time.monotonic() + 10
    while _lives(worker):
        assert time.monotonic() < deadline, f"process {worker} lives on"


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z" and os.getpid() != pid
