"""A stream of jobs for one customer, and whether they ran all the while.

The job is ``send(customer, …)``, and begins with ``note("start", ctx.job_id, customer,
time.monotonic())``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from integration.scene import Scene

# Seconds between two jobs.
EVERY = 0.1


@contextmanager
def streaming(scene: Scene, customer: str) -> Iterator[None]:
    """Enqueue a job for this customer every so often."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(EVERY):
            scene.job("send").enqueue(customer=customer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def longest_gap(scene: Scene, customer: str) -> float:
    """The most seconds between the beginnings of two of the customer's jobs."""
    begun = [float(x[3]) for x in scene.journal if x[0] == "start" and x[2] == customer]
    return max(b - a for a, b in pairwise(begun))
