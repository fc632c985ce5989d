"""Enqueueing from asyncio, and a result kept by the handler itself, safe to run twice.

A job can run again after a crash. Its id is the same every time, so a row under that id is
written once. Run it:

    streamjobs -A web:app topics apply
    python web.py
    streamjobs -A web:app worker --drain
    python web.py total
"""

import asyncio
import os
import sqlite3
import sys

from streamjobs import App, Context

app = App("web")
app.queue("sums", partitions=4)

DATABASE = os.environ.get("SUMS_DATABASE", "sums.db")


@app.job(queue="sums")
def add(ctx: Context, x: int, y: int) -> None:
    with sqlite3.connect(DATABASE, timeout=30) as database:
        database.execute("CREATE TABLE IF NOT EXISTS sums (job TEXT PRIMARY KEY, sum INTEGER)")
        database.execute("INSERT OR IGNORE INTO sums VALUES (?, ?)", (ctx.job_id, x + y))
    database.close()


async def main() -> None:
    """Enqueue a hundred jobs at once, without blocking the event loop."""
    refs = await asyncio.gather(*(add.enqueue_async(x=n, y=1) for n in range(100)))
    print(f"{len(refs)} jobs are in the log")


def total() -> None:
    database = sqlite3.connect(DATABASE)
    print(*database.execute("SELECT count(*), sum(sum) FROM sums").fetchone())
    database.close()


if __name__ == "__main__":
    with app:
        total() if sys.argv[1:] == ["total"] else asyncio.run(main())
