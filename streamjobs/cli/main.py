"""``streamjobs``: the command that all others hang from.

Subcommands are imported when they are asked for, so that ``streamjobs --help`` imports next to
nothing. Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 done with rejects.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.ending import tell_where_it_crashed
from streamjobs.cli.output import complain, escape_unwritable
from streamjobs.errors import (
    ConfigurationError,
    InvalidArguments,
    StreamjobsError,
    TopicsError,
)

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

# Name: where it is, and its line in the list of commands.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("streamjobs.cli.demo:demo", "Run the main job end to end on real data."),
    "broker": ("streamjobs.cli.broker:broker", "Run a development broker."),
    "topics": ("streamjobs.cli.topics:topics", "Compare, create and list the app's topics."),
    "worker": ("streamjobs.cli.worker:worker", "Run the jobs of queues."),
    "enqueue": ("streamjobs.cli.enqueue:enqueue", "Enqueue one job, or a file of them."),
    "dlq": ("streamjobs.cli.dlq:dlq", "List, show and put back dead letters."),
    "status": ("streamjobs.cli.status:status", "Show what waits, retries and is dead."),
    "schemas": ("streamjobs.cli.schemas:schemas", "Export the schemas of the app's jobs."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is called, and reports our errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (as above)
        """Import a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 (a mistake in the table above)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (as above)
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into a line and an exit code."""
        try:
            return super().invoke(ctx)
        except StreamjobsError as error:
            report(error)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt as interrupt:
            for note in getattr(interrupt, "__notes__", ()):
                complain(f"Interrupted {note}")
            ctx.exit(INTERRUPTED)


def exit_code(error: StreamjobsError) -> int:
    """Say what an error makes of the exit code.

    Wrong topics are the cluster's state, not the user's words, so they count as a failure.
    """
    if isinstance(error, TopicsError):
        return FAILED
    wrong = isinstance(error, ConfigurationError | InvalidArguments)
    return WRONG_USAGE if wrong else FAILED


def report(error: StreamjobsError) -> None:
    """Write an error to standard error, each of its problems on a line of its own."""
    problems = getattr(error, "problems", ())
    if isinstance(error, ConfigurationError) and len(problems) > 1:
        complain(f"Error: {len(problems)} problems:")
        for problem in problems:
            complain(f"  - {problem}")
    else:
        complain(f"Error: {error}")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-A",
    "--app",
    "app",
    envvar="STREAMJOBS_APP",
    metavar="MODULE:APP",
    help="Where the App is, such as shop.jobs:app; the working directory is on the path.",
)
@click.version_option(
    package_name="streamjobs", prog_name="streamjobs", message="%(prog)s %(version)s"
)
@click.pass_context
def cli(ctx: click.Context, app: str | None) -> None:
    """Background jobs on Kafka: in order per key, and retried without blocking other keys."""
    ctx.obj = AppLoader(app)


def main() -> None:
    """Run the command line and exit."""
    escape_unwritable()
    tell_where_it_crashed()
    cli(prog_name="streamjobs")


if __name__ == "__main__":
    main()
