"""``streamjobs enqueue``: one job, or a file of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import json_option, say, write_json
from streamjobs.cli.rejects import Rejects
from streamjobs.errors import InvalidArguments, SettingsError
from streamjobs.ingest import READERS, Columns, Reject, Row, parse_object
from streamjobs.wording import counted

if TYPE_CHECKING:
    from streamjobs.app import App
    from streamjobs.client import Summary
    from streamjobs.handle import Enqueuer

REJECTED = 3
_STDIN = "-"
_EXTENSIONS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PROGRESS_EVERY = 1000


@dataclass(frozen=True)
class Source:
    """The file that rows come from, and how to read it; ``path`` None: standard input."""

    path: Path | None
    format: str
    columns: Columns

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it for reading.

        Raises:
            SettingsError: it cannot be opened.
        """
        if self.path is None:
            yield sys.stdin.buffer
            return
        try:
            stream = self.path.open("rb")
        except OSError as error:
            raise SettingsError(f"--from {self.path}: {error.strerror}") from error
        with stream:
            yield stream


def _mapping(
    _ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    pairs = {}
    for text in given:
        column, equals, argument = text.rpartition("=")
        if not equals or not column:
            raise click.BadParameter(f"{text!r} must be COLUMN=ARGUMENT, or COLUMN= to leave out")
        pairs[column] = argument
    return pairs


@click.command()
@click.argument("job")
@click.option("--args", "arguments", metavar="JSON", help="The arguments, as one JSON object.")
@click.option("--from", "file", metavar="FILE|-", help="A job for each row; '-': standard input.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(sorted(READERS)),
    help="Of the file, where its name does not end in .csv, .jsonl or .ndjson.",
)
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="COLUMN=ARGUMENT",
    callback=_mapping,
    help="The column feeds this argument; 'COLUMN=' leaves it out. May be repeated.",
)
@click.option(
    "--key", metavar="COLUMN", help="Order by this column, not by the job's rule; empty: no order."
)
@click.option("--priority", metavar="NAME", help="One of the queue's priorities.")
@click.option(
    "--rejects",
    "rejects_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where rows that do not fit go.  [default: beside the file, *.rejects.jsonl]",
)
@json_option
@click.pass_context
def enqueue(
    ctx: click.Context,
    *,
    job: str,
    arguments: str | None,
    file: str | None,
    file_format: str | None,
    mapping: dict[str, str],
    key: str | None,
    priority: str | None,
    rejects_path: Path | None,
    as_json: bool,
) -> None:
    """Enqueue one JOB, or one for each row of a file.

    CSV files have a header; its columns are matched to the job's arguments by name, and its cells
    are made into their types. JSON lines hold one object of arguments each. Rows that do not fit
    go to the rejects file with their line and the reason, the others are enqueued, and the exit
    code is 3.
    """
    app: App = ctx.obj.load()
    definition = app.registry.find_job(job)
    handle = app.jobs[definition.name].options(priority=priority)
    if file is None:
        if file_format or mapping or key is not None or rejects_path:
            raise click.UsageError("--format, --map, --key and --rejects go with --from FILE")
        _enqueue_one(app, handle, arguments, as_json)
        return
    if arguments is not None:
        raise click.UsageError("give either --args or --from, not both")
    columns = Columns({p.name: p.required for p in definition.parameters}, mapping, key)
    path = None if file == _STDIN else Path(file)
    source = Source(path, _format(path, file_format), columns)
    with Rejects(
        rejects_path or _rejects_path(path, job), given=rejects_path is not None, source=path
    ) as rejects:
        summary = _enqueue_rows(app, handle, source, rejects)
        _report(job, summary, rejects, as_json)
    if rejects.count:
        ctx.exit(REJECTED)


def _enqueue_one(app: App, job: Enqueuer[...], arguments: str | None, as_json: bool) -> None:
    try:
        given = {} if arguments is None else parse_object(arguments)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--args") from error
    call = replace(job.template(), args=job.encoder.check(given, lax=True))
    connect(app.settings)
    with app:
        ref = app.client.enqueue(call)
    if as_json:
        write_json(ref)
    else:
        say(f"{ref.id} is at {ref.topic}, partition {ref.partition}, offset {ref.offset}")


def _enqueue_rows(app: App, job: Enqueuer[...], source: Source, rejects: Rejects) -> Summary:
    def does_not_fit(_index: int, row: Mapping[str, Any], error: InvalidArguments) -> None:
        assert isinstance(row, Row)  # noqa: S101 (what the reader made)
        rejects.add(Reject(row.line, "; ".join(error.problems), row.source))

    with source.open() as stream:
        # The header is checked here, before there has to be a broker.
        rows = READERS[source.format](stream, source.columns, rejects.add)
        connect(app.settings)
        key = None if source.columns.key is None else _key
        with app, _progress(source, stream) as watch:
            return app.enqueue_rows(job, watch(rows), on_reject=does_not_fit, key=key)


def _key(row: Mapping[str, Any]) -> str | None:
    assert isinstance(row, Row)  # noqa: S101 (what the reader made)
    return row.key or None


def _format(path: Path | None, given: str | None) -> str:
    if given:
        return given
    if path is None:
        raise click.UsageError("--format says what standard input is: csv or jsonl")
    found = _EXTENSIONS.get(path.suffix.lower())
    if found is None:
        raise click.UsageError(f"--format says what {path.name} is: csv or jsonl")
    return found


def _rejects_path(path: Path | None, job: str) -> Path:
    if path is None:
        return Path(f"{job}.rejects.jsonl")
    return path.with_name(f"{path.name}.rejects.jsonl")


def _report(job: str, summary: Summary, rejects: Rejects, as_json: bool) -> None:
    if as_json:
        write_json(
            {
                "job": job,
                "sent": summary.sent,
                "rejected": rejects.count,
                "seconds": round(summary.seconds, 3),
                "per_second": round(summary.per_second),
                "rejects": str(rejects.path) if rejects.count else None,
            }
        )
        return
    say(
        f"{counted(summary.sent, 'job')} of {job} enqueued in {summary.seconds:,.1f} s "
        f"({summary.per_second:,.0f} jobs/s)"
    )
    if rejects.count:
        rows = counted(rejects.count, "row")
        say(f"{rows} rejected: {rejects.path} has each with its line and reason")


@contextmanager
def _progress(source: Source, stream: BinaryIO) -> Iterator[Any]:
    """Give a function that shows how far rows have been read; on a terminal only."""
    if not sys.stderr.isatty():
        yield _same
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    total = None if source.path is None else source.path.stat().st_size
    columns = (BarColumn(), TextColumn("{task.fields[rows]:,} rows"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, rows=0)

        def watch(rows: Iterable[Row]) -> Iterator[Row]:
            for count, row in enumerate(rows, 1):
                if count % _PROGRESS_EVERY == 0:
                    done = 0 if total is None else stream.tell()
                    progress.update(task, completed=done, rows=count)
                yield row

        yield watch


def _same(rows: Iterable[Row]) -> Iterable[Row]:
    return rows
