from __future__ import annotations

import pytest
from unit.simulator.parts import Patch, StalePatch, load
from unit.simulator.planted.fencing import ENGINE
from unit.simulator.planted.hunt import catch
from unit.simulator.planted.patches import PATCHES
from unit.simulator.simulate import play_seed


@pytest.mark.timeout(300)
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_planted_bug_is_caught(patch: Patch) -> None:
    found = catch(patch, load())

    assert found is not None, f"{patch.name}: {patch.file} may have it, and no history shows it"


def test_a_history_that_is_only_long_catches_nothing() -> None:
    # given one that takes more turns than are given to the code with a bug
    line = "log.begins = False"
    none = Patch("no bug", ENGINE, line, line, seed=369)
    assert "in circles" in getattr(play_seed(369, load([none])), "error", "")

    assert catch(none, load(), seeds=370) is None


def test_planted_bugs_have_names_of_their_own() -> None:
    assert len({patch.name for patch in PATCHES}) == len(PATCHES)
    assert len(PATCHES) >= 24
    assert sum(patch.fencing for patch in PATCHES) >= 7


def test_a_patch_whose_line_is_gone_is_an_error() -> None:
    stale = Patch("stale", PATCHES[0].file, "there is no such line", "pass")

    with pytest.raises(StalePatch, match="stands 0 times"):
        load([stale])
