"""``streamjobs dlq``: dead letters, all of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.broker_check import connect
from streamjobs.cli.output import (
    complain,
    inert,
    json_option,
    plain,
    say,
    table,
    to_json,
    write_json,
)
from streamjobs.headers import Reason
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics
from streamjobs.wording import counted

if TYPE_CHECKING:
    from streamjobs.codec import Decoder
    from streamjobs.deadletters import DeadLetter
    from streamjobs.requeue import Result

FAILED, REJECTS = 1, 3

# A record with one of these is on its way still, in a tier.
TIER_REASONS = (Reason.FAILED, Reason.WAITING)

# Rows of one table on a terminal: its columns are fitted to them, so they are held in memory.
_TABLE_ROWS = 1000
_CUT = 100

queue_option = click.option("-q", "--queue", required=True, help="The queue.")
id_option = click.option(
    "--id", "ids", multiple=True, help="Job id, or PARTITION:OFFSET in the DLQ; may be repeated."
)
all_option = click.option(
    "--all", "with_taken", is_flag=True, help="Also those that were put back already."
)
reason_option = click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice([reason.value for reason in Reason if reason not in TIER_REASONS]),
    help="Only this reason; may be repeated.",
)


@click.group()
def dlq() -> None:
    """List, show and put back dead letters: jobs given up, and records that never were jobs."""


@dlq.command("list")
@queue_option
@id_option
@reason_option
@all_option
@json_option
@click.pass_obj
def list_command(
    loader: AppLoader,
    queue: str,
    ids: tuple[str, ...],
    reasons: tuple[str, ...],
    *,
    with_taken: bool,
    as_json: bool,
) -> None:
    """List every dead letter there is now and that was not put back, a line each.

    JSON: args is null and raw holds the value in base64 where it cannot be decoded; likewise key
    and raw_key for a key that is not UTF-8. With --all, those put back have "requeued": true.
    """
    every = _letters(loader, queue, ids, reasons)
    letters = (letter for letter in every if with_taken or not letter.taken)
    if as_json:
        for letter in letters:
            write_json(listed(letter))
        return
    count = 0
    columns = ("id", "job", "key", "attempts", "reason", "error", "failed at", "place")
    while rows := [_row(letter) for letter in islice(letters, _TABLE_ROWS)]:
        table(columns, rows)
        count += len(rows)
    say(f"{counted(count, 'dead letter')} in queue {queue}")


@dlq.command("show")
@queue_option
@id_option
@reason_option
@all_option
@json_option
@click.pass_context
def show_command(
    ctx: click.Context,
    queue: str,
    ids: tuple[str, ...],
    reasons: tuple[str, ...],
    *,
    with_taken: bool,
    as_json: bool,
) -> None:
    """Show dead letters in full, with the trace of their last error.

    Exits 1 when --id names one that is not there, or was put back (--all shows it still).
    """
    if not ids and not reasons:
        raise click.UsageError("which ones? give --id (see 'streamjobs dlq list') or --reason")
    missing, back = set(ids), set[str | None]()
    for letter in _letters(ctx.obj, queue, ids, reasons):
        if letter.taken and not with_taken:
            back |= {letter.id, letter.place}
            continue
        missing -= {letter.id, letter.place}
        if as_json:
            write_json({**listed(letter), "error_trace": letter.error_trace})
        else:
            _show(letter)
    for name in sorted(missing & back):
        complain(f"Error: {name} was put back already: --all shows it")
    for name in sorted(missing - back):
        complain(f"Error: queue {queue} has no dead letter {name}")
    if missing:
        ctx.exit(FAILED)


@dlq.command("requeue")
@queue_option
@id_option
@json_option
@click.pass_context
def requeue_command(ctx: click.Context, queue: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Put dead letters back into their main topic, each exactly once, attempts from 0 again.

    One that was put back already is left alone, so after a failure the same command may be run
    again. Of two at a time on one queue the later one goes on and the earlier one ends.

    JSON: a line for each dead letter and for each name without one, with its fate: requeued,
    already-requeued, refused, trimmed or unknown.

    Exit codes: 0 all are back, 1 none was put back and some are not, 3 some were and some are not.
    """
    from streamjobs.requeue import Fate, Requeue

    if not ids:
        raise click.UsageError("which ones? give --id (see 'streamjobs dlq list')")
    settings, topics, decoder = _reading(ctx.obj, queue)
    done = failed = 0
    for result in Requeue(settings, topics, decoder).run(ids):
        done += result.fate is Fate.REQUEUED
        failed += result.problem is not None
        if as_json:
            write_json(_result_json(result))
        elif result.fate is Fate.REQUEUED and result.letter is not None:
            say(f"{result.name} put back into {result.topic}[{result.letter.partition}]")
        elif result.fate is Fate.ALREADY:
            say(f"{result.name} was put back already")
        if result.problem is not None:
            complain(f"Error: {result.problem}")
    if not as_json:
        say(f"{counted(done, 'dead letter')} of queue {queue} put back")
    if failed:
        ctx.exit(REJECTS if done else FAILED)


def _result_json(result: Result) -> dict[str, Any]:
    letter = result.letter
    return {
        "name": result.name,
        "fate": result.fate.value,
        "id": letter.id if letter else None,
        "partition": letter.partition if letter else None,
        "offset": letter.offset if letter else None,
        "topic": result.topic,
        "problem": result.problem,
    }


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
    if letter.taken:
        line["requeued"] = True
    return line


def _letters(
    loader: AppLoader, queue: str, ids: tuple[str, ...], reasons: tuple[str, ...]
) -> Iterator[DeadLetter]:
    from streamjobs.deadletters import read_dead_letters

    letters = read_dead_letters(*_reading(loader, queue))
    return (letter for letter in letters if letter.matches(ids, reasons))


def _reading(loader: AppLoader, queue: str) -> tuple[Settings, QueueTopics, Decoder]:
    """Return what reading a DLQ needs, once a broker answers."""
    from streamjobs.codec import Decoder

    app = loader.load()
    topics = app.registry.find_queue(queue).topics(app.prefix)
    connect(app.settings)
    return app.settings, topics, Decoder(app.name, app.registry, app.store)


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
