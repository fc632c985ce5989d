"""What the demo shows: progress on stderr, the table and the verdict on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamjobs.demo import rules
from streamjobs.demo.rules import Expected
from streamjobs.demo.verdict import Run
from streamjobs.wording import counted


class Bars(Protocol):
    """Where progress is reported."""

    def enqueued(self, count: int) -> None:
        """So many jobs are on their way into the log."""

    def ended(self, count: int) -> None:
        """So many jobs have ended."""


class Screen:
    """Both streams; ``quiet``: nothing but what ``say`` brings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """Tell what is being done, on stderr, plain."""
        click.echo(line, err=True)

    @contextmanager
    def bars(self, total: int) -> Iterator[Bars]:
        """Show two progress bars, on a terminal only."""
        progress = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
            disable=not self._err.is_terminal,
        )
        with progress:
            yield _RichBars(progress, total)

    def rules(self) -> None:
        """Print what becomes of which flight."""
        if not self._quiet:
            click.echo("The rules of this demo:")
            for rule in rules.TEXT:
                click.echo(f"  - {rule}")

    def result(self, run: Run, expected: Expected, found: list[str]) -> None:
        """Print the table and the verdict."""
        if self._quiet:
            return
        click.echo(f"\n{counted(run.enqueued, 'flight')} as jobs ({run.engine} broker)")
        table = Table()
        table.add_column("")
        table.add_column("jobs", justify="right")
        for name, value in (
            ("enqueued", run.enqueued),
            ("succeeded", run.report.succeeded),
            ("retried", run.report.retried),
            ("discarded", run.report.discarded),
            ("dead", run.report.dead),
            ("jobs/s", round(run.rate)),
            ("order violations", run.order_violations),
        ):
            table.add_row(name, f"{value:,}")
        self._out.print(table)
        self._verdict(expected, found)

    def _verdict(self, expected: Expected, found: list[str]) -> None:
        for line in found:
            click.echo(f"DIFFERS: {line}")
        if not found:
            click.echo(
                f"Compared with the file: all {len(expected.aircraft):,} aircraft have the same "
                "flights, miles, minutes in the air and minutes late; every job has ended once, "
                "and each aircraft's in their order."
            )


class _RichBars:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._in = progress.add_task("enqueued", total=total)
        self._out = progress.add_task("ended", total=total)

    def enqueued(self, count: int) -> None:
        self._progress.update(self._in, completed=count)

    def ended(self, count: int) -> None:
        self._progress.update(self._out, completed=count)
