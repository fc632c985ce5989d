"""``streamjobs status``: per queue, what waits, retries and is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import json_option, table, write_json

if TYPE_CHECKING:
    from streamjobs.status import QueueStatus


@click.command()
@click.option("-q", "--queue", "queues", multiple=True, help="Only this queue; may be repeated.")
@json_option
@click.pass_obj
def status(loader: AppLoader, queues: tuple[str, ...], as_json: bool) -> None:
    """Show per queue what waits, retries and is dead, and how many workers it has.

    'waiting' counts jobs that are not complete in the main topics, those that run just now among
    them: the broker cannot tell them apart, so 'running' is unknown (null). The numbers come from
    the broker one after the other; while jobs run they need not add up.
    """
    from streamjobs.status import queue_status

    app = loader.load()
    wanted = [app.registry.find_queue(q) for q in queues] or list(app.registry.queues.values())
    connect(app.settings)
    found = {q.name: queue_status(app.settings, q.topics(app.prefix)) for q in wanted}
    if as_json:
        write_json({"queues": {name: s.as_json() for name, s in found.items()}})
        return
    columns = ("queue", "waiting", "running", "retrying", "parked keys", "dead", "members")
    rows = [
        (
            name,
            _waiting(s),
            s.running,
            "  ".join(f"{tier}: {n:,}" for tier, n in s.retrying.items()) or "no tiers",
            s.parked_keys,
            s.dead,
            s.members,
        )
        for name, s in found.items()
    ]
    table(columns, rows)


def _waiting(status: QueueStatus) -> int | str:
    by_priority = [f"{name}: {n:,}" for name, n in status.waiting_by_priority.items()]
    return "  ".join(by_priority) or status.waiting
