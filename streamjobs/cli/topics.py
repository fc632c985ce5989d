"""``streamjobs topics``: what must exist, and make it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import complain, json_option, say, table, write_json
from streamjobs.wording import counted

if TYPE_CHECKING:
    from streamjobs.app import App
    from streamjobs.kafka.plan import Plan


@click.group()
def topics() -> None:
    """Compare, create and list the app's topics.

    Nothing here deletes a topic, shortens what one keeps, or adds partitions to a main topic.
    """


@topics.command("plan")
@json_option
@click.pass_context
def plan_command(ctx: click.Context, as_json: bool) -> None:
    """Show what 'topics apply' would do, and what it cannot mend.

    Exits 1 when there is something: a worker would not start.
    """
    from streamjobs.kafka.admin import Admin

    app = ctx.obj.load()
    connect(app.settings)
    with Admin(app.settings) as admin:
        plan = admin.plan(app.registry.topic_specs(app.prefix))
    if as_json:
        write_json(_plan_json(plan))
    else:
        _show_plan(app, plan)
    if plan.problems:
        ctx.exit(1)


@topics.command("apply")
@click.option(
    "--session-timeout",
    type=click.FloatRange(min=0.001),
    metavar="SECONDS",
    help="Set how long workers may be silent under KIP-848; the broker keeps it for each group.",
)
@json_option
@click.pass_context
def apply_command(ctx: click.Context, session_timeout: float | None, as_json: bool) -> None:
    """Create missing topics and mend settings; asks nothing, and may run any number of times.

    Exits 1 when something is left that it cannot mend, such as another number of partitions.
    """
    from streamjobs.kafka.admin import Admin

    app = ctx.obj.load()
    connect(app.settings)
    specs = app.registry.topic_specs(app.prefix)
    with Admin(app.settings) as admin:
        plan = admin.plan(specs)
        admin.apply(plan)
        left = admin.plan(specs)
        if session_timeout is not None:
            groups = [q.topics(app.prefix).group for q in app.registry.queues.values()]
            admin.set_session_timeout(groups, round(session_timeout * 1000))
    if as_json:
        write_json({"done": _steps_json(plan), **_plan_json(left)})
    else:
        for step in plan.steps:
            say(f"done: {step}")
        if not plan.steps and not left.problems:
            say(f"nothing to do: the topics of {app.prefix} are as they must be")
        if session_timeout is not None:
            say(
                f"done: session timeout of {counted(len(groups), 'group')} is {session_timeout:g} s"
            )
    for problem in left.problems:
        complain(f"Error: {problem}")
    if left.problems:
        ctx.exit(1)


@topics.command("list")
@json_option
@click.pass_obj
def list_command(loader: AppLoader, as_json: bool) -> None:
    """List the app's topics: those it needs, and those of older releases."""
    from streamjobs.kafka.admin import Admin

    app = loader.load()
    connect(app.settings)
    with Admin(app.settings) as admin:
        rows = _rows(app, admin.topics())
    if as_json:
        for row in rows:
            write_json(row)
    else:
        columns = ("topic", "partitions", "exists", "needed", "topic_id")
        table(columns, [[row[c] for c in columns] for row in rows])


def _rows(app: App, there: Any) -> list[dict[str, Any]]:
    needed = {spec.name: spec.partitions for spec in app.registry.topic_specs(app.prefix)}
    names = list(needed)
    for queue in app.registry.queues.values():
        topics = queue.topics(app.prefix)
        names += [tier for tier in topics.tiers_among(there) if tier not in needed]
        names += topics.old_mains_among(there)
    return [
        {
            "topic": name,
            "partitions": there[name].partitions if name in there else needed[name],
            "exists": name in there,
            "needed": name in needed,
            "topic_id": (there[name].topic_id or None) if name in there else None,
        }
        for name in names
    ]


def _show_plan(app: App, plan: Plan) -> None:
    for step in plan.steps:
        say(f"would {step}")
    mendable = len(plan.steps)
    # The last problems are those that the steps mend; they are told by the steps already.
    for problem in plan.problems[: len(plan.problems) - mendable]:
        say(f"cannot mend: {problem}")
    for topic in (*plan.old_tiers, *(main for main in plan.old_mains if not main.waiting)):
        say(f"note: {topic}")
    if not plan.steps and not plan.problems:
        say(f"nothing to do: the topics of {app.prefix} are as they must be")
    elif plan.steps:
        say("'streamjobs -A module:app topics apply' does it")


def _steps_json(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "action": type(step).__name__.lower(),
            "topic": step.topic,
            "config": dict(getattr(step, "config", {})),
        }
        for step in plan.steps
    ]


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "steps": _steps_json(plan),
        "problems": list(plan.problems),
        "old_tiers": [
            {"topic": t.topic, "group": t.group, "empty": t.empty} for t in plan.old_tiers
        ],
        "old_mains": [
            {"topic": t.topic, "group": t.queue.group, "waiting": t.waiting} for t in plan.old_mains
        ],
    }
