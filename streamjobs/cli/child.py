"""What a worker starts for a child: ``python -m streamjobs.cli.child APP LEVEL IN OUT PID``.

Not a command for people. APP is what ``-A`` said, LEVEL a log level, IN and OUT the numbers of the
pipes, PID the worker.
"""

from __future__ import annotations

import logging
import sys

from streamjobs.app import App
from streamjobs.cli.app_loader import load_app
from streamjobs.worker.child import run_child
from streamjobs.worker.source import Source


def child_command(app: str, log_level: str) -> tuple[str, ...]:
    """Return the command of a child, up to the numbers of its pipes.

    Its output is unbuffered: what a job printed before it ended its process is what is looked for.
    """
    return sys.executable, "-u", "-m", "streamjobs.cli.child", app, log_level


def source_of(app: App, child: tuple[str, ...] = ()) -> Source:
    """Return what a worker, or a child of it, needs of an app."""
    return Source(
        app=app.name,
        registry=app.registry,
        settings=app.settings,
        prefix=app.prefix,
        store=app.store,
        outgoing=app.client.outgoing,
        child=child,
    )


def log_to_stderr(level: str) -> None:
    """Log lines of this level and above, for the worker and its children alike."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def main() -> None:
    """Run jobs for the worker."""
    app, log_level, down, up, parent = sys.argv[1:]
    log_to_stderr(log_level)
    run_child(lambda: source_of(load_app(app)), int(down), int(up), int(parent))


if __name__ == "__main__":
    main()
