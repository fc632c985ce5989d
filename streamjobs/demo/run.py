"""The demo from end to end: data, broker, one run on it, comparison."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamjobs.demo.conduct import conduct
from streamjobs.demo.dataset import find_dataset
from streamjobs.demo.flights import read_flights
from streamjobs.demo.screen import Screen
from streamjobs.demo.verdict import as_json, problems
from streamjobs.kafka.brokers import Broker, Engine, start_broker

EMBEDDED_NOTE = (
    "The embedded broker silently drops all but the last 5 MiB of each partition: enqueueing "
    "waits for the worker so that its backlog stays below that. It has no transactions either, "
    "so the worker uses delivery=idempotent."
)

_KEPT = ("STREAMJOBS_GROUP_PROTOCOL", "STREAMJOBS_TEST_BOOTSTRAP", "STREAMJOBS_KAFKA_IMAGE")


def run_demo(engine: Engine, rows: int | None, screen: Screen) -> dict[str, Any]:
    """Run it all and print the result.

    Args:
        engine: which broker to start.
        rows: only the first so many flights; None: all of them.
        screen: where progress, table and verdict go.

    Returns:
        The result for programs; ``problems`` is empty when everything came out as computed.

    Raises:
        DatasetError: the flights cannot be had.
        BrokerSetupError: no broker can be started.
        DemoError: the worker failed or stands still.
    """
    path = find_dataset(screen.say)
    screen.rules()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_flights, path, limit=rows)
        with start_broker(engine, say=screen.say) as broker, _folder() as folder:
            if broker.engine == "embedded":
                screen.say(EMBEDDED_NOTE)
            with _environment(_settings(broker, folder)) as environ:
                run, expected = conduct(
                    broker, reading.result(), folder=folder, environ=environ, screen=screen
                )
    found = problems(run, expected)
    screen.result(run, expected, found)
    return as_json(run, expected, found)


def _settings(broker: Broker, folder: Path) -> dict[str, str]:
    """What the app reads, in this process and in the worker's."""
    return {
        "STREAMJOBS_BOOTSTRAP_SERVERS": broker.bootstrap,
        "STREAMJOBS_NAMESPACE": f"flights-demo-{secrets.token_hex(4)}",
        "STREAMJOBS_DELIVERY": "transactional" if broker.engine == "kafka" else "idempotent",
        "FLIGHTS_LEDGER": str(folder / "ledger.db"),
    }


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Put settings into this process's environment, the user's own for other apps aside."""
    before = dict(os.environ)
    kept = {n: v for n, v in before.items() if not n.startswith("STREAMJOBS_") or n in _KEPT}
    environ = {**kept, **settings}
    _replace(environ)
    try:
        yield environ
    finally:
        _replace(before)


def _replace(environ: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environ)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="streamjobs-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)
