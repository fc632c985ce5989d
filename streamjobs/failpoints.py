"""Named places at which a test may count, kill or stop a worker: between an outcome and its commit.

Inert unless ``STREAMJOBS_FAILPOINTS`` is set when the process starts, and never active under
``python -O``. Its value is the file that hits are appended to, then what is to happen where::

    /tmp/hits;txn.produced=kill@3;loop.revoked=stop@1

That is: the process kills itself with SIGKILL when it passes ``txn.produced`` for the third time,
and stops itself (SIGSTOP) at its first ``loop.revoked``. Each hit is one line of ``HIT_BYTES``
bytes, written by one call, so that it is there even when the process is killed at that place.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from streamjobs.errors import SettingsError

VARIABLE = "STREAMJOBS_FAILPOINTS"
HIT_BYTES = 64
# In the order in which a worker passes them. ``txn.*`` is inside the transaction.
POINTS = (
    "loop.assigned",
    "loop.claimed",
    "loop.answered",
    "loop.collected",
    "loop.revoked",
    "loop.drained",
    "loop.lost",
    "cycle.taken",
    "cycle.dead-letters",
    "cycle.plain",
    "cycle.plain-sent",
    "cycle.plain-done",
    "cycle.settled",
    "cycle.transaction-done",
    "txn.begun",
    "txn.produced",
    "txn.offsets-sent",
    "txn.committed",
    "txn.aborted",
)
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _inert(name: str) -> None:
    """Do nothing: what ``hit`` is outside of tests."""


class Failpoints:
    """Counts the hits of one process and acts on them; safe from every thread.

    Args:
        text: the variable's value.

    Raises:
        SettingsError: it names a place or an action that there is none of.
    """

    def __init__(self, text: str) -> None:
        path, *orders = text.split(";")
        self._orders = dict(_order(order) for order in orders)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._hits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hit(self, name: str) -> None:
        """Note that the process is here, and end or stop it where that is ordered."""
        if name not in POINTS:
            raise ValueError(f"{name!r} is no failpoint: add it to POINTS")
        with self._lock:
            self._hits[name] += 1
            action, at = self._orders.get(name, ("", 0))
            now = action if self._hits[name] == at else "-"
            line = f"{name} {os.getpid()} {time.monotonic_ns()} {now}"
            os.write(self._file, line.ljust(HIT_BYTES - 1).encode() + b"\n")
        if now in _SIGNALS:
            # To this thread: one sent to the process is another thread's to act on, and this one
            # may be past its place before the process stands still.
            signal.pthread_kill(threading.get_ident(), _SIGNALS[now])


def _order(order: str) -> tuple[str, tuple[str, int]]:
    name, _, rest = order.partition("=")
    action, _, at = rest.partition("@")
    if name not in POINTS or action not in _SIGNALS or not at.isdigit():
        raise SettingsError(
            f"{VARIABLE}: {order!r} is no order: write NAME=kill@N or NAME=stop@N, NAME one of "
            + ", ".join(POINTS)
        )
    return name, (action, int(at))


def _chosen() -> Callable[[str], None]:
    text = os.environ.get(VARIABLE)
    return Failpoints(text).hit if text and __debug__ else _inert


# Bound once, so that a place costs one call of an empty function; none stands where a record does.
hit: Callable[[str], None] = _chosen()
ACTIVE = hit is not _inert
