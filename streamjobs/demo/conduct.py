"""One run on a broker that is there: worker, enqueueing, drain, and what is left to compare.

The app reads its settings from the environment at its first use, which is in here.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from streamjobs.clock import monotonic
from streamjobs.codec import Decoder
from streamjobs.deadletters import read_dead_letters
from streamjobs.demo.app import QUEUE, app, call, job_id, ledger_path
from streamjobs.demo.flights import Flight
from streamjobs.demo.ledger import Ledger
from streamjobs.demo.process import DemoError, Worker
from streamjobs.demo.rules import Expected, expect
from streamjobs.demo.screen import Bars, Screen
from streamjobs.demo.verdict import Run
from streamjobs.kafka.brokers import Broker
from streamjobs.topics import QueueTopics

# More threads only wait longer for the one ledger and for the interpreter: 4 are a tenth slower.
CONCURRENCY = 2
# The embedded broker keeps 5 MiB of each partition and drops the oldest without a word: at about
# 250 bytes a job this is 5 MB in all, so less than that in any partition, however uneven the keys.
EMBEDDED_BACKLOG = 20_000
STALLED_SECONDS = 60.0

_PROGRAM = (sys.executable, "-m", "streamjobs.cli.main", "-A", "streamjobs.demo.app:app")
_WORKER = ("worker", "--queue", QUEUE, "--drain", "--json", "--log-level", "warning")
_COMMAND = (*_PROGRAM, *_WORKER, "--concurrency", str(CONCURRENCY))
_STEP = 1_000  # jobs between looks at the worker while enqueueing
_LOOK_SECONDS = 0.5


@dataclass
class _Parts:
    worker: Worker
    ledger: Ledger
    bars: Bars
    flights: list[Flight]
    backlog: int | None


def conduct(
    broker: Broker,
    flights: list[Flight],
    *,
    folder: Path,
    environ: Mapping[str, str],
    screen: Screen,
) -> tuple[Run, Expected]:
    """Run every flight as a job; return what came of it and what should have.

    Args:
        broker: to run on.
        flights: in the order to enqueue them in.
        folder: for the worker's logs; removed by its guard if this process dies.
        environ: the worker's environment.
        screen: where progress goes.

    Raises:
        DemoError: the worker failed or stands still.
    """
    broker.create_topics(app.registry.topic_specs(app.prefix))
    backlog = EMBEDDED_BACKLOG if broker.engine == "embedded" else None
    with (
        app,
        closing(Ledger(ledger_path())) as ledger,
        Worker(_COMMAND, environ, folder) as worker,
    ):
        began = monotonic()
        with screen.bars(len(flights)) as bars:
            parts = _Parts(worker, ledger, bars, flights, backlog)
            summary = app.enqueue_many(call(flight) for flight in _paced(parts))
            bars.enqueued(summary.sent)
            expected = expect(flights)
            _drain(parts)
        seconds = monotonic() - began
        return _look(broker, parts, summary.sent, seconds), expected


def _paced(parts: _Parts) -> Iterator[Flight]:
    """Yield the flights; see that a worker runs, and keep to the broker's limit."""
    for count, flight in enumerate(parts.flights):
        if count % _STEP == 0:
            parts.worker.keep_running()
            parts.bars.enqueued(count)
            if parts.backlog is not None:
                _wait_until_ended(parts, count - parts.backlog)
        yield flight


def _wait_until_ended(parts: _Parts, count: int) -> None:
    for ended in _progress(parts):
        if ended >= count:
            return
        parts.worker.keep_running()


def _drain(parts: _Parts) -> None:
    """Return when a worker has drained the queue after the last enqueue.

    The one that runs now may have seen the end of the queue just before the last jobs came: then
    one more is started. What has not ended after that one will never end.
    """
    for _ in range(2):
        parts.worker.keep_running()
        for _ended in _progress(parts):
            if not parts.worker.running():
                break
        if parts.ledger.ended() >= len(parts.flights):
            return


def _progress(parts: _Parts) -> Iterator[int]:
    """Yield how many jobs have ended, several times a second.

    Raises:
        DemoError: the number has stood still for a minute.
    """
    moved, last = monotonic(), -1
    while True:
        ended = parts.ledger.ended()
        parts.bars.ended(ended)
        if ended > last:
            moved, last = monotonic(), ended
        elif monotonic() - moved > STALLED_SECONDS:
            raise DemoError(
                f"no job has ended for {STALLED_SECONDS:.0f} s, and {ended:,} of "
                f"{len(parts.flights):,} have; the worker's last lines:\n{parts.worker.tail()}"
            )
        yield ended
        time.sleep(_LOOK_SECONDS)


def _look(broker: Broker, parts: _Parts, enqueued: int, seconds: float) -> Run:
    """Gather what the run left in the ledgers and in the DLQ."""
    return Run(
        engine="Apache Kafka" if broker.engine == "kafka" else "embedded",
        enqueued=enqueued,
        report=parts.worker.report,
        booked=parts.ledger.booked(),
        discarded=parts.ledger.discarded(),
        dead=_dead_rows(parts.flights),
        aircraft=parts.ledger.aircraft(),
        order_violations=parts.ledger.order_violations(),
        seconds=seconds,
    )


def _dead_rows(flights: list[Flight]) -> Counter[int]:
    """Count the dead letters of each flight; row 0: of something else."""
    rows = {job_id(flight.row): flight.row for flight in flights}
    decoder = Decoder(app.name, app.registry, app.store)
    letters = read_dead_letters(app.settings, QueueTopics(app.prefix, QUEUE), decoder)
    return Counter(rows.get(letter.id or "", 0) for letter in letters)
