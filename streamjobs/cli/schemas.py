"""``streamjobs schemas``: the contracts of the app's jobs, as files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamjobs.cli.app_loader import AppLoader
from streamjobs.cli.output import say
from streamjobs.wording import counted


@click.group()
def schemas() -> None:
    """Export the schemas of the app's jobs."""


@schemas.command("export")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; made when missing.",
)
@click.pass_obj
def export(loader: AppLoader, folder: Path) -> None:
    """Write JOB.avsc for each job: what other programs read and write jobs with.

    Needs no broker. Files of the same names are replaced, others are left alone.
    """
    app = loader.load()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, job in app.jobs.items():
            schema = json.loads(job.encoder.schema)
            path = folder / f"{name}.avsc"
            path.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write the schemas: {error}") from error
    say(f"{counted(len(app.jobs), 'schema')} of {app.name} written to {folder}")
