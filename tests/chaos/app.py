"""The app of a campaign: what its workers run, each start and end noted as it happens."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path

from history.events import Journal, Outcome

from streamjobs import App, Context, DeadLetter, Discard, EnqueueError, Retry

# A job has one attempt more than the ladder has rungs. What comes behind a job of its key that is
# due in 3 s is moved to a tier as well; behind one that is due in 300 ms it waits in memory.
DELAYS = ("300ms", "3s")
ATTEMPTS = len(DELAYS) + 1
PARTITIONS = 6

WORKER = int(os.environ.get("CHAOS_WORKER", "0"))
JOURNAL = Journal(Path(os.environ["CHAOS_FOLDER"]) / f"worker-{WORKER}.events", WORKER)

# A worker that does not end is asked where it stands.
faulthandler.register(signal.SIGUSR1)

app = App(os.environ["CHAOS_APP"])
app.queue("work", partitions=PARTITIONS, retry=Retry(delays=DELAYS))


class Trouble(Exception):
    """What a job that has to fail raises."""


@app.job(queue="work", key="lane")
def work(ctx: Context, lane: str, fails: int, ms: int, end: str) -> None:
    """Take ``ms`` milliseconds, fail ``fails`` times, and end as ``end`` says.

    With ``kill`` each attempt that fails takes its process with it.
    """
    serial = JOURNAL.started(ctx.job_id, lane, ctx.attempt)
    if end == "kill" and ctx.attempt <= fails:
        outcome = _outcome(ctx.attempt, fails, end)
        JOURNAL.killed(ctx.job_id, lane, ctx.attempt, serial, outcome)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(ms / 1000)
    if end == "child" and ctx.attempt > fails:
        try:
            ctx.enqueue(child, parent=ctx.job_id)
        except EnqueueError:  # its schema could not be looked up: a broker is away
            outcome = _outcome(ctx.attempt, ctx.attempt, end)
            JOURNAL.ended(ctx.job_id, lane, ctx.attempt, serial, outcome)
            raise
    outcome = _outcome(ctx.attempt, fails, end)
    JOURNAL.ended(ctx.job_id, lane, ctx.attempt, serial, outcome)
    if ctx.attempt <= fails:
        raise Trouble(f"attempt {ctx.attempt} of {fails} that fail")
    if outcome is Outcome.DISCARDED:
        raise Discard
    if outcome is Outcome.DEAD:
        raise DeadLetter("as it was told")


@app.job(queue="work")
def child(ctx: Context, parent: str) -> None:
    """What a job enqueues as it succeeds; it has no key."""
    serial = JOURNAL.started(ctx.job_id, "", ctx.attempt)
    JOURNAL.ended(ctx.job_id, "", ctx.attempt, serial, Outcome.SUCCEEDED)


def _outcome(attempt: int, fails: int, end: str) -> Outcome:
    """What this attempt comes to: the same whenever it is made again."""
    if attempt <= fails:
        return Outcome.FAILED if attempt < ATTEMPTS else Outcome.DEAD
    return {"discard": Outcome.DISCARDED, "dead": Outcome.DEAD}.get(end, Outcome.SUCCEEDED)
