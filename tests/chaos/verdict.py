"""What a campaign has to contain, what the product is known not to do, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chaos.orders import OUTLIVED, STEP
from history.judge import Violation
from history.model import SECOND, Gap, History
from history.take_overs import INSIDE, TakeOver

from streamjobs.failpoints import POINTS

# Without these a run of a minute shows nothing.
NEEDED = {
    "jobs": 1000,
    "poison": 10,
    "children": 10,
    "retries": 100,
    "dead": 20,
    "kills": 3,
    "stops": 3,
    "halts past the session": 1,
    "rebalances": 10,
    "broker kills": 1,
    "offset samples": 50,
}
STORIES = 5
# What a table of campaigns tells of each, and how its columns are headed.
COLUMNS = {
    "jobs": "jobs",
    "starts": "starts",
    "duplicates": "begun again",
    "dead": "dead",
    "kills": "kills",
    "kills by jobs": "by jobs",
    "kills and stops at failpoints": "at failpoints",
    "stops": "stops",
    "halts past the session": "halts",
    "broker kills": "broker kills",
    "rebalances": "rebalances",
}
WAITS = ("longest take-over, s", "in a transaction, s")


def needed_in_all(runs: int) -> dict[str, int]:
    """What must have happened in all runs together.

    Args:
        runs: how many, of seeds in a row: with thirty of them each failpoint was passed at least
            twenty times, and each has ended a worker or stopped it.
    """
    # These are passed about twice in a run.
    few = {f"hit {name}": min(20, runs) for name in OUTLIVED}
    # Of four seeds in a row two have a worker die in a transaction (``Plan.dies_in``).
    needed = {
        "waiting moves": 20,
        "kills by jobs": 10,
        "kills and stops at failpoints": min(20, 2 * runs),
        "take-overs": runs,
        INSIDE: runs // 4 * 2 + max(0, runs % 4 - 2),
        **{f"hit {name}": 20 for name in POINTS},
        **few,
    }
    # As many as it takes to have dealt each a second time.
    if runs * STEP >= 2 * len(POINTS):
        needed.update({f"end at {name}": 1 for name in POINTS})
    return needed


def known_gaps() -> frozenset[Gap]:
    """What is excused unless a campaign is strict: nothing at present."""
    return frozenset()


def report(
    history: History,
    violations: Sequence[Violation],
    seconds: float,
    found: Sequence[TakeOver],
) -> str:
    """The totals, the faults, and the stories of the first violations of each rule."""
    totals = history.totals()
    lines = [f"  {name}: {count}" for name, count in totals.items()]
    lines.append(f"  seconds in all: {seconds:.1f}")
    for inside, where in ((False, "anywhere"), (True, "in a transaction")):
        waits = sorted(t.seconds for t in found if t.inside is inside)
        told_waits = " ".join(f"{wait:.1f}" for wait in waits) or "none"
        lines.append(f"  seconds partitions stood still, owner killed {where}: {told_waits}")
    if violations:
        lines.append("what was done:")
        lines += [f"  {(f.at - history.zero) / SECOND:9.4f} {f.what}" for f in history.faults]
    told: Counter[str] = Counter()
    for violation in violations:
        told[violation.rule] += 1
        if told[violation.rule] <= STORIES:
            lines.append(f"BROKEN {violation.rule}: {violation.text}")
            if violation.job is not None:
                lines.append(history.story(violation.job))
    return "\n".join(lines)


def row(
    seed: int, protocol: str, totals: Counter[str], found: Sequence[TakeOver], verdict: str
) -> str:
    """A campaign as a line of a table in Markdown."""
    counts = [f"{totals[name]:,}" for name in COLUMNS]
    longest = [
        f"{max(waits):.1f}" if waits else ""
        for inside in (False, True)
        for waits in [[t.seconds for t in found if t.inside is inside]]
    ]
    return " | ".join(["", str(seed), protocol, *counts, *longest, verdict, ""]).strip()


def table(rows: Sequence[str], totals: Counter[str]) -> str:
    """The table of all campaigns, their totals, and how often each failpoint was passed."""
    names = ["seed", "groups", *COLUMNS.values(), *WAITS, "verdict"]
    head = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    counts = [f"{totals[name]:,}" for name in COLUMNS]
    end = "| " + " | ".join(["all", "", *counts, *[""] * len(WAITS), ""]) + " |"
    hits = ", ".join(f"{name} {totals[f'hit {name}']:,}" for name in POINTS)
    ends = ", ".join(f"{name} {totals[f'end at {name}']:,}" for name in POINTS)
    told = [f"Failpoints passed: {hits}.", "", f"Workers killed or stopped there: {ends}.", ""]
    told.append(f"Take-overs measured: {totals['take-overs']}, in a transaction {totals[INSIDE]}.")
    return "\n".join([*head, *rows, end, "", *told])
