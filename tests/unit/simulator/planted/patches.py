"""Planted bugs: one-line changes of the engine, or of the order of steps in the shell's model.

Not among them are changes that no history can show: where a second check catches what the first
let through, or only the time that something takes would change.
"""

from __future__ import annotations

from unit.simulator.planted.fencing import FENCING
from unit.simulator.planted.order import ORDER

PATCHES = (*ORDER, *FENCING)
