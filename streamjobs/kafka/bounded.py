"""Calls of a client that may never return, whatever timeout they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable

# What such a thread's name ends in, behind that of the one that waits for it.
BOUNDED = " (bounded)"
# Seconds more for a call whose process stood still while it was waited for.
AFTER_A_SLEEP = 0.5


def returns_within(seconds: float, call: Callable[[], object]) -> bool:
    """Make a call in a thread of its own, and wait so long for it.

    Returns:
        Whether it has returned. If not, its thread is left behind, with all that it holds.

    Raises:
        BaseException: whatever the call raised.
    """
    raised: list[BaseException] = []

    def make() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            raised.append(error)

    # A daemon: one that never returns must not keep the process from ending.
    name = f"{threading.current_thread().name}{BOUNDED}"
    thread = threading.Thread(target=make, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    thread.join(AFTER_A_SLEEP)
    if thread.is_alive():
        return False
    if raised:
        raise raised[0]
    return True
