"""``streamjobs demo``: the main job end to end on real data."""

from __future__ import annotations

import click

from streamjobs.cli.output import json_option, write_json
from streamjobs.kafka.brokers import Engine


@click.command()
@click.option(
    "--engine",
    type=click.Choice(["auto", "kafka", "embedded"]),
    default="auto",
    show_default=True,
    help="Apache Kafka, the broker inside librdkafka, or the first where it can be had.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help="Only the first N flights of the year, for a shorter look.  [default: all 336,776]",
)
@json_option
@click.pass_context
def demo(ctx: click.Context, engine: Engine, rows: int | None, as_json: bool) -> None:
    """Send the 336,776 flights out of New York in 2013 through Kafka as jobs.

    Starts a broker and a worker of its own and ends them. Exits 1 when a flight is lost, or when an
    aircraft's totals differ from those computed from the file directly.
    """
    from streamjobs.demo.run import run_demo
    from streamjobs.demo.screen import Screen

    result = run_demo(engine, rows, Screen(quiet=as_json))
    if as_json:
        write_json(result)
    if result["problems"]:
        ctx.exit(1)
