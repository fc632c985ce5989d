"""``streamjobs dlq``: dead letters, all of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import inert, json_option, plain, say, table, to_json, write_json

if TYPE_CHECKING:
    from streamjobs.deadletters import DeadLetter

# Rows of one table on a terminal: its columns are fitted to them, so they are held in memory.
_TABLE_ROWS = 1000
_CUT = 100

queue_option = click.option("-q", "--queue", required=True, help="The queue.")
id_option = click.option(
    "--id", "ids", multiple=True, help="Job id, or PARTITION:OFFSET in the DLQ; may be repeated."
)
reason_option = click.option(
    "--reason", "reasons", multiple=True, help="Only this reason; may be repeated."
)


@click.group()
def dlq() -> None:
    """List and show dead letters: jobs that were given up, and records that never were jobs."""


@dlq.command("list")
@queue_option
@id_option
@reason_option
@json_option
@click.pass_obj
def list_command(
    loader: AppLoader, queue: str, ids: tuple[str, ...], reasons: tuple[str, ...], as_json: bool
) -> None:
    """List every dead letter there is now, a line each.

    JSON: args is null and raw holds the value in base64 where it cannot be decoded; likewise key
    and raw_key for a key that is not UTF-8.
    """
    letters = _letters(loader, queue, ids, reasons)
    if as_json:
        for letter in letters:
            write_json(listed(letter))
        return
    count = 0
    columns = ("id", "job", "key", "attempts", "reason", "error", "failed at", "place")
    while rows := [_row(letter) for letter in islice(letters, _TABLE_ROWS)]:
        table(columns, rows)
        count += len(rows)
    say(f"{count:,} dead letters in queue {queue}")


@dlq.command("show")
@queue_option
@id_option
@reason_option
@json_option
@click.pass_context
def show_command(
    ctx: click.Context,
    queue: str,
    ids: tuple[str, ...],
    reasons: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show dead letters in full, with the trace of their last error.

    Exits 1 when --id names one that is not there.
    """
    if not ids and not reasons:
        raise click.UsageError("which ones? give --id (see 'streamjobs dlq list') or --reason")
    missing = set(ids)
    for letter in _letters(ctx.obj, queue, ids, reasons):
        missing -= {letter.id, letter.place}
        if as_json:
            write_json({**listed(letter), "error_trace": letter.error_trace})
        else:
            _show(letter)
    if missing:
        raise click.ClickException(
            f"queue {queue} has no dead letter {', '.join(inert(i) for i in sorted(missing))}"
        )


def listed(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter in the shape of ``dlq list --json``."""
    line: dict[str, Any] = {
        "id": letter.id,
        "job": letter.job,
        "key": letter.key,
        "args": letter.args,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "failed_at": letter.failed_at,
        "origin": letter.origin,
        "partition": letter.partition,
        "offset": letter.offset,
    }
    if letter.args is None:
        line["raw"] = letter.raw
    if letter.raw_key is not None:
        line["raw_key"] = letter.raw_key
    return line


def _letters(
    loader: AppLoader, queue: str, ids: tuple[str, ...], reasons: tuple[str, ...]
) -> Iterator[DeadLetter]:
    from streamjobs.codec import Decoder
    from streamjobs.deadletters import read_dead_letters

    app = loader.load()
    topics = app.registry.find_queue(queue).topics(app.prefix)
    connect(app.settings)
    decoder = Decoder(app.name, app.registry, app.store)
    letters = read_dead_letters(app.settings, topics.dlq, decoder)
    return (letter for letter in letters if letter.matches(ids, reasons))


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    error = ": ".join(part for part in (letter.error_type, letter.error_message) if part)
    return (
        letter.id,
        letter.job,
        _key(letter),
        letter.attempts,
        letter.reason,
        error if len(error) <= _CUT else f"{error[:_CUT]}...",
        letter.failed_at,
        letter.place,
    )


def _key(letter: DeadLetter) -> str | None:
    if letter.raw_key is not None:
        return f"base64:{base64.b64encode(letter.raw_key).decode('ascii')}"
    return letter.key


def _show(letter: DeadLetter) -> None:
    for name, value in plain(listed(letter)).items():
        say(f"{name + ':':15}{inert(value) if isinstance(value, str) else to_json(value)}")
    say("error_trace:")
    say("\n".join(f"  {line}" for line in (letter.error_trace or "none").splitlines()))
    say("")
