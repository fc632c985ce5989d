"""``streamjobs worker``: run the jobs of queues."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.errors import SettingsError
from streamjobs.settings import MAX_POLL_INTERVAL_MS, Settings

if TYPE_CHECKING:
    from streamjobs.worker.runner import Worker

logger = logging.getLogger("streamjobs.worker")

REJECTS = 3
# New containers between two looks for garbage in cycles. A received record and its headers are ten,
# and none of them is ever in a cycle; with Python's own 700 that search was a third of a rebuild.
GARBAGE_THRESHOLD = 20_000


@click.command()
@click.option(
    "-q",
    "--queue",
    "queues",
    multiple=True,
    help="A queue to run, any number of times; all when not given.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Threads for each queue.",
)
@click.option(
    "--drain",
    is_flag=True,
    help="Exit when the queues are empty, retries included; no breaker pauses them.",
)
@click.option("--fail-on-dead", is_flag=True, help="Exit 3 when this worker made dead letters.")
@click.option(
    "--drain-budget",
    type=click.FloatRange(0, 3600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running jobs may take to end at a stop or a rebalance.",
)
@click.option(
    "--from",
    "begin",
    type=click.Choice(["earliest"]),
    help="Where an offset is lost, or beyond its log's end: run what the log has, again too.",
)
@click.option(
    "--old-partitions",
    is_flag=True,
    help="Run although partitions were added to a topic: only those that the app declares.",
)
@click.option("--http", "port", type=click.IntRange(0, 65535), help="Serve health and metrics.")
@click.option("--http-host", default="127.0.0.1", show_default=True, help="Where --http listens.")
@click.option("--json", "as_json", is_flag=True, help="Print a closing report, a line per queue.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
)
@click.pass_obj
def worker(
    loader: AppLoader,
    queues: tuple[str, ...],
    concurrency: int,
    *,
    drain: bool,
    fail_on_dead: bool,
    drain_budget: float,
    begin: str | None,
    old_partitions: bool,
    port: int | None,
    http_host: str,
    as_json: bool,
    log_level: str,
) -> None:
    """Run jobs until SIGTERM or SIGINT, which lets running jobs end; a second one abandons them.

    Exit codes: 0 stopped or drained, 1 failed, 2 wrong settings, 3 dead letters (--fail-on-dead),
    143 (SIGTERM) or 130 (Ctrl-C) after a second signal, or one that ended a drain early.
    """
    from streamjobs.cli.child import child_command, log_to_stderr, source_of
    from streamjobs.cli.ending import skip_exit_handlers
    from streamjobs.worker.runner import Options, Worker

    log_to_stderr(log_level)
    app = loader.load()
    names = tuple(dict.fromkeys(queues)) or tuple(app.registry.queues)
    if not names:
        raise SettingsError(f"app {app.name!r} declares no queue: write app.queue('NAME')")
    _check_budget(drain_budget, app.settings)
    source = source_of(app, () if loader.spec is None else child_command(loader.spec, log_level))
    options = Options(
        concurrency,
        drain,
        drain_budget,
        from_earliest=begin is not None,
        old_partitions=old_partitions,
    )
    running = Worker(source, names, options)
    seen = _stop_on_signals(running.stop)
    _search_less_garbage()
    try:
        with _served(running, http_host, port):
            running.run()
    finally:
        skip_exit_handlers()
    reports = running.report()
    if as_json:
        for report in reports:
            click.echo(json.dumps(report))
    if drain and seen and not running.drained:
        logger.warning("stopped before all was drained: what is left waits for the next worker")
        sys.exit(128 + seen[0])
    if fail_on_dead and any(report["dead"] for report in reports):
        sys.exit(REJECTS)


@contextmanager
def _served(running: Worker, host: str, port: int | None) -> Iterator[None]:
    """Serve health and metrics meanwhile, where a port is given."""
    if port is None:
        yield
        return
    from streamjobs.observe.http import serve

    server = serve(
        host, port, live=running.live, ready=running.ready, registry=running.metrics_registry
    )
    logger.info("HTTP on %s:%d", host, server.port)
    try:
        yield
    finally:
        server.stop()


def _check_budget(seconds: float, settings: Settings) -> None:
    """Refuse a drain that outlasts the group's patience: what it commits would be refused."""
    interval = int(settings.kafka.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS))
    if seconds * 1000 >= interval:
        raise SettingsError(
            f"--drain-budget {seconds:g} s must be below max.poll.interval.ms={interval}: the "
            "group takes the partitions of who does not poll for so long, and their jobs run again "
            "elsewhere; set STREAMJOBS_KAFKA_MAX_POLL_INTERVAL_MS above it"
        )


def _search_less_garbage() -> None:
    """Have Python look for garbage in cycles less often, unless the app has chosen how often."""
    threshold, *older = gc.get_threshold()
    if gc.isenabled() and 0 < threshold < GARBAGE_THRESHOLD:
        gc.freeze()  # what is loaded by now stays, and need not be searched again and again
        gc.set_threshold(GARBAGE_THRESHOLD, *older)


def _stop_on_signals(stop: Callable[[], None]) -> list[int]:
    """Drain on the first signal, give up on the second: nothing uncommitted is ever lost by it.

    Returns:
        The first one's number, once it has come.
    """
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return seen
