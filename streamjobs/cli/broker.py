"""``streamjobs broker``: a development broker for as long as the command runs."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import NoReturn

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.clock import monotonic
from streamjobs.kafka.brokers import LIMITS, Broker, Engine, start_broker
from streamjobs.topics import TopicSpec
from streamjobs.wording import counted

_LOOK_SECONDS = 0.5


class _Stopped(BaseException):
    """A signal asked to stop; like KeyboardInterrupt, no handler of errors may take it."""


@click.command()
@click.option(
    "--engine",
    type=click.Choice(["auto", "kafka", "embedded"]),
    default="auto",
    show_default=True,
    help="Apache Kafka, the broker inside librdkafka, or the first where it can be had.",
)
@click.option(
    "--nodes",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="Three nodes keep every record on three, and survive the loss of one.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port of the first node, the others on the next ones.  [default: any free ones]",
)
@click.pass_obj
def broker(loader: AppLoader, engine: Engine, nodes: str, port: int | None) -> None:
    """Run a development broker on 127.0.0.1 until SIGTERM or Ctrl-C.

    Its host:port stands alone on the first line of standard output as soon as it is ready;
    everything else goes to standard error. With -A, the app's topics are created first. It
    forgets everything when it ends.
    """
    if engine == "embedded" and port is not None:
        raise click.UsageError("the embedded broker picks its port itself: leave out --port")
    topics = _topics(loader)
    _stop_on_signals()
    began = monotonic()
    try:
        with start_broker(engine, int(nodes), port, topics, say=_say) as running:
            _announce(running, len(topics), monotonic() - began)
            _wait(running)
    except _Stopped:
        _say("stopped")


def _topics(loader: AppLoader) -> list[TopicSpec]:
    """Return the topics of the app that ``-A`` names; none without it."""
    if not loader.app_given:
        return []
    app = loader.load()
    return list(app.registry.topic_specs(app.prefix))


def _announce(running: Broker, topics: int, seconds: float) -> None:
    if running.engine == "embedded":
        click.echo(LIMITS, err=True)
    if topics:
        _say(f"{counted(topics, 'topic is', 'topics are')} there")
    if "," in running.bootstrap:
        _say(f"all nodes: {running.bootstrap}")
    _say(f"ready after {seconds:.1f} s; Ctrl-C or SIGTERM stops it")
    click.echo(running.bootstrap.partition(",")[0])


def _wait(running: Broker) -> NoReturn:
    """Stay until a signal, or until a node has ended by itself.

    Raises:
        BrokerSetupError: when a node has ended, with the end of its log.
    """
    while True:
        time.sleep(_LOOK_SECONDS)  # a signal's handler raises out of it; an end of a node has none
        running.check()


def _stop_on_signals() -> None:
    """Let the first SIGTERM or SIGINT stop in good order, and the second at once."""

    def at_once(number: int, _frame: FrameType | None) -> None:
        os._exit(128 + number)  # whatever runs dies with this process

    def stop(_number: int, _frame: FrameType | None) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, at_once)
        raise _Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _say(line: str) -> None:
    click.echo(f"streamjobs broker: {line}", err=True)
