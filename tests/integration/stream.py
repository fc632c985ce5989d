"""A stream of jobs for one customer, and whether they ran all the while.

The job is ``send(customer, …)``, and begins with ``note("start", ctx.job_id, customer,
time.monotonic())``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from integration.scene import Scene

from streamjobs.clock import monotonic

# Seconds between two jobs.
EVERY = 0.1


@contextmanager
def streaming(scene: Scene, customer: str) -> Iterator[None]:
    """Enqueue a job for this customer every so often, and note when it was there."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(EVERY):
            ref = scene.job("send").enqueue(customer=customer)
            scene.note("enqueued", ref.id, customer, str(monotonic()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def longest_wait(scene: Scene, customer: str) -> float:
    """The most seconds from a job's being there to its beginning, of the customer's stream.

    Not from one beginning to the next: where the stream pauses, so do they.
    """
    journal = scene.journal
    sent = {x[1]: float(x[3]) for x in journal if x[0] == "enqueued" and x[2] == customer}
    return max(float(x[3]) - sent[x[1]] for x in journal if x[0] == "start" and x[1] in sent)
