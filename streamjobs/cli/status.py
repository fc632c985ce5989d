"""``streamjobs status``: per queue, what waits, retries and is dead."""

from __future__ import annotations

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import json_option, table, write_json


@click.command()
@click.option("-q", "--queue", "queues", multiple=True, help="Only this queue; may be repeated.")
@json_option
@click.pass_obj
def status(loader: AppLoader, queues: tuple[str, ...], as_json: bool) -> None:
    """Show per queue what waits, retries and is dead, and how many workers it has.

    'waiting' counts jobs that are not complete in the main topic, those that run just now among
    them: the broker cannot tell them apart, so 'running' is unknown (null). The numbers come from
    the broker one after the other; while jobs run they need not add up.
    """
    from streamjobs.status import queue_status
    from streamjobs.topics import QueueTopics

    app = loader.load()
    names = [app.registry.find_queue(q).name for q in queues] or list(app.registry.queues)
    connect(app.settings)
    found = {name: queue_status(app.settings, QueueTopics(app.prefix, name)) for name in names}
    if as_json:
        write_json({"queues": found})
        return
    columns = ("queue", "waiting", "running", "retrying", "parked keys", "dead", "members")
    rows = [
        (
            name,
            s.waiting,
            s.running,
            "  ".join(f"{tier}: {n:,}" for tier, n in s.retrying.items()) or "no tiers",
            s.parked_keys,
            s.dead,
            s.members,
        )
        for name, s in found.items()
    ]
    table(columns, rows)
