from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from unit.simulator.parts import load
from unit.simulator.setups import draw
from unit.simulator.simulate import Failure, history, main, missing, play_seeds
from unit.simulator.world import World

CHUNKS = [range(begin, begin + 30) for begin in range(0, 150, 30)]


@cache
def played(seeds: range) -> tuple[Counter[str], list[Failure]]:
    return play_seeds(seeds, load())


@pytest.mark.parametrize("seeds", CHUNKS, ids=str)
def test_no_history_breaks_a_guarantee(seeds: range) -> None:
    _, failures = played(seeds)

    if failures:
        pytest.fail(f"{history(failures[0].seed, load())}\nall that fail: {failures}")


def test_everything_that_can_go_wrong_has_gone_wrong() -> None:
    totals = sum((played(seeds)[0] for seeds in CHUNKS), Counter[str]())

    assert missing(totals) == []
    assert totals["jobs"] >= 300 * totals["histories"]


def test_the_median_history_has_three_workers_and_five_faults() -> None:
    setups = [draw(seed) for seed in range(1000)]

    assert sorted(len(s.batches) for s in setups)[500] >= 300
    assert sorted(s.workers for s in setups)[500] == 3
    assert sorted(len(s.faults) for s in setups)[500] >= 5


def test_a_seed_is_one_history() -> None:
    parts = load()
    first, again = (World(draw(3), parts, trace=True) for _ in range(2))

    for world in (first, again):
        world.play()

    assert first.trace
    assert first.trace == again.trace


def test_a_history_can_be_read_and_replayed() -> None:
    text = history(3, load(), lines=10)

    assert "seed=3," in text
    assert "SEED=3: make simulate SEEDS=1 SEED_START=3" in text


def test_the_command_prints_totals_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--seeds", "1", "--start", "3", "--processes", "1"])

    out = capsys.readouterr().out
    assert code == 0
    assert "verdict: no guarantee is broken" in out
    assert "rebalances" in out
