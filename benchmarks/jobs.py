"""The app that is measured: one queue of eight partitions, one job that does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamjobs import App

PARTITIONS = 8
KEYS = 5_000

app = App("bench")
app.queue("noop", partitions=PARTITIONS)


@app.job(queue="noop", key="customer")
def noop(number: int, customer: str, price: float) -> None:
    """Do nothing with three typed arguments."""


def arguments(count: int) -> Iterator[dict[str, Any]]:
    """Yield the arguments of each job: 5,000 keys in turn."""
    for number in range(count):
        yield {"number": number, "customer": f"customer-{number % KEYS}", "price": number / 4}
