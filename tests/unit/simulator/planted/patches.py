"""Planted bugs: one-line changes of the engine, or of the order of steps in the shell's model."""

from __future__ import annotations

from unit.simulator.parts import SHELL, Patch

ENGINE = "streamjobs/engine/engine.py"
WATERMARK = "streamjobs/engine/watermark.py"
LANE = "streamjobs/engine/lane.py"
DECIDE = "streamjobs/engine/decide.py"
CYCLES = "streamjobs/engine/cycles.py"
TAKING = "streamjobs/engine/taking.py"

PATCHES = (
    Patch(
        "commit too early: the position instead of the lowest incomplete offset",
        WATERMARK,
        "return pending[0] if pending else self.position",
        "return self.position",
    ),
    Patch(
        "an aborted cycle's moves are forgotten",
        CYCLES,
        "self._out.moves[:0] = [m for m in cycle.moves if m.record.log.live]",
        "pass",
    ),
    Patch(
        "a move uses no rung",
        DECIDE,
        "after = replace(tried, rung=tried.rung + 1)",
        "after = tried",
    ),
    Patch(
        "outcomes of an assignment that is over are taken in",
        ENGINE,
        "if not log.live:\ncontinue",
        "",
        fencing=True,
    ),
    Patch(
        "wipe too late: what was decided for lost partitions is kept",
        ENGINE,
        "self._out.forget_dead()",
        "pass",
        fencing=True,
    ),
    Patch(
        "a shard starts before its tiers are read",
        TAKING,
        "if log.target is not None and (log.scanned or 0) < log.target:\nreturn",
        "",
        fencing=True,
    ),
    Patch(
        "the last stable offset is taken for the high watermark",
        SHELL,
        'ends = {log.topic: len(log.entries) for log in shard if log.kind == "tier"}',
        'ends = {log.topic: log.stable for log in shard if log.kind == "tier"}',
        fencing=True,
    ),
    Patch(
        "a shard that was lost keeps its lanes",
        TAKING,
        "shard.wipe()",
        "shard.active = shard.answered = False",
        fencing=True,
    ),
    Patch(
        "what belongs to an assignment that is over still runs",
        TAKING,
        "old.live = False",
        "pass",
        fencing=True,
    ),
    Patch(
        "a record from a tier does not wait until main was received past it",
        LANE,
        "if record is None or (record.log.delay is not None and (position or 0) <= record.place):",
        "if record is None:",
    ),
    Patch(
        "what a shard has to read again is not read again",
        TAKING,
        "self._out.seek(log, BEGINNING if base is None else base)",
        "log.stale = False",
        fencing=True,
    ),
)
