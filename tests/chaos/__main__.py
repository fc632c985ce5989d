"""``make chaos [RUNS=3] [SECONDS=60] [SEED=1] [CHAOS_ARGS="--protocol classic"]``: judged runs.

Prints the totals of each run and a verdict; a broken rule prints the whole history of its job.
Exit codes: 0 all rules hold, 1 one is broken, or too little happened: in a run, or in all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chaos.campaign import Plan, campaign_of, seconds_of
from chaos.verdict import NEEDED, known_gaps, needed_in_all, report, row, table
from history.judge import Violation, judge, vacuous
from history.model import Gap
from history.take_overs import measured, take_overs

from streamjobs.kafka.brokers import Broker, start_broker

PROTOCOLS = ("classic", "consumer")


def main(arguments: list[str] | None = None) -> int:
    """Play campaigns one after the other, each with its own seed and folder."""
    options = _parser().parse_args(arguments)
    gaps = known_gaps() if options.strict is False else frozenset[Gap]()
    broken, totals, rows = 0, Counter[str](), list[str]()
    for number in range(options.runs):
        seed = options.seed + number
        protocol = options.protocol or PROTOCOLS[seed % 2]
        plan = Plan(seed, options.seconds, protocol, killers=not options.no_killers, gaps=gaps)
        with start_broker("kafka", nodes=options.nodes, say=lambda _: None) as broker:
            folder = Path(options.folder or tempfile.mkdtemp(prefix="chaos-")) / f"seed-{seed}"
            broken += _play(plan, broker, folder, totals, rows)
    _say(f"\n{table(rows, totals)}\n")
    void = list(vacuous(totals, needed_in_all(options.runs)))
    for violation in void:
        _say(f"VOID: {violation.text}")
    _say(f"{options.runs} runs, {broken} with broken rules" + (", void" if void else ""))
    return 1 if broken or void else 0


def _play(plan: Plan, broker: Broker, folder: Path, totals: Counter[str], rows: list[str]) -> bool:
    _say(f"\nseed {plan.seed}: {plan.seconds:g} s of faults, {plan.protocol} groups, {folder}")
    folder.mkdir(parents=True)
    with campaign_of(plan, broker, folder) as campaign:
        history = campaign.play()
    totals.update(history.totals() + measured(history))
    violations, found = judge(history, NEEDED), list(take_overs(history))
    rows.append(row(plan.seed, plan.protocol, history.totals(), found, _counts(violations)))
    _say(report(history, violations, seconds_of(history), found))
    strictly = judge(replace(history, gaps=frozenset()), {})
    _say(f"with no known gap excused: {_counts(strictly)}")
    for violation in strictly:
        if violation.rule == "liveness":
            _say(f"  {violation.text}")
    _say(f"verdict of seed {plan.seed}: {_counts(violations)}")
    return bool(violations)


def _counts(violations: Sequence[Violation]) -> str:
    counts = Counter(v.rule for v in violations)
    return ", ".join(f"{rule}: {count}" for rule, count in counts.items()) or "no rule is broken"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: in turn, by the seed")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    parser.add_argument("--folder", help="of journals, hits and logs; default: a new one")
    parser.add_argument("--no-killers", action="store_true", help="no job kills its worker")
    parser.add_argument("--strict", action="store_true", help="excuse no known gap of the product")
    return parser


if __name__ == "__main__":
    sys.exit(main())
