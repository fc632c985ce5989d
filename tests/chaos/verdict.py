"""What a campaign has to contain, what the product is known not to do, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chaos.fleet import RARE
from history.judge import Violation
from history.model import SECOND, Gap, History

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
# And these must have happened in all runs of a campaign together. Aborts and unasked losses are
# what the product may never come to.
NEEDED_IN_ALL = {
    "waiting moves": 20,
    "kills by jobs": 10,
    **{f"hit {name}": 20 for name in POINTS if name not in RARE},
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


def known_gaps() -> frozenset[Gap]:
    """What is excused unless a campaign is strict: nothing at present."""
    return frozenset()


def report(
    history: History, violations: Sequence[Violation], seconds: float, waits: Sequence[float]
) -> str:
    """The totals, the faults, and the stories of the first violations of each rule."""
    totals = history.totals()
    lines = [f"  {name}: {count}" for name, count in totals.items()]
    lines.append(f"  seconds in all: {seconds:.1f}")
    told_waits = " ".join(f"{wait:.1f}" for wait in sorted(waits)) or "none"
    lines.append(f"  undisturbed take-overs, seconds a partition stood still: {told_waits}")
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
    seed: int, protocol: str, totals: Counter[str], waits: Sequence[float], verdict: str
) -> str:
    """A campaign as a line of a table in Markdown."""
    counts = [f"{totals[name]:,}" for name in COLUMNS]
    longest = f"{max(waits):.1f}" if waits else ""
    return " | ".join(["", str(seed), protocol, *counts, longest, verdict, ""]).strip()


def table(rows: Sequence[str], totals: Counter[str]) -> str:
    """The table of all campaigns, their totals, and how often each failpoint was passed."""
    names = ["seed", "groups", *COLUMNS.values(), "longest take-over, s", "verdict"]
    head = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    counts = [f"{totals[name]:,}" for name in COLUMNS]
    end = "| " + " | ".join(["all", "", *counts, "", ""]) + " |"
    hits = ", ".join(f"{name} {totals[f'hit {name}']:,}" for name in POINTS)
    return "\n".join([*head, *rows, end, "", f"Failpoints passed: {hits}."])
