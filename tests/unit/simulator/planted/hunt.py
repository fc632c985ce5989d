"""Whether the simulator finds a planted bug, and at which seed: ``make planted``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

from unit.simulator.parts import Parts, Patch, load
from unit.simulator.planted.patches import PATCHES
from unit.simulator.simulate import Failure, play_seed

# A planted bug has to show within so many histories.
SEEDS = 2_000


@dataclass(frozen=True)
class Catch:
    """The first history that a planted bug breaks, and that holds without it."""

    seed: int
    error: str


def catch(patch: Patch, clean: Parts, seeds: int = SEEDS) -> Catch | None:
    """Play histories with the bug until one breaks; None when none does.

    Without the bug it holds in as few turns: else it would only be a long one.
    """
    broken, clean = load([patch]), replace(clean, hurried=True)
    for seed in range(patch.seed, seeds):
        played = play_seed(seed, broken)
        if isinstance(played, Failure) and not isinstance(play_seed(seed, clean), Failure):
            return Catch(seed, played.error)
    return None


def main(words: list[str]) -> int:
    """Hunt for all of them, or for those with a word in their name."""
    clean, slipped = load(), 0
    for patch in PATCHES:
        if all(word in patch.name for word in words):
            begun = time.monotonic()
            found = catch(patch, clean)
            slipped += found is None
            where = f"seed {found.seed}: {found.error}" if found else "SLIPS THROUGH"
            sys.stdout.write(f"{time.monotonic() - begun:6.1f} s  {patch.name}: {where}\n")
    return 1 if slipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
