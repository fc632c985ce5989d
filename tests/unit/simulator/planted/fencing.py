"""Planted bugs about fencing, taking a shard and rebuilding, of the engine or the shell's model."""

from __future__ import annotations

from unit.simulator.parts import COMMITS, SHELL, Patch

ENGINE = "streamjobs/engine/engine.py"
TAKING = "streamjobs/engine/taking.py"
TURNS = "streamjobs/engine/turns.py"
INTAKE = "streamjobs/engine/intake.py"
PARKING = "streamjobs/engine/parking.py"
OUTBOX = "streamjobs/engine/outbox.py"

ALONE = "streamjobs/engine/alone.py"
SUSPICION = "streamjobs/engine/suspicion.py"
METADATA = "streamjobs/engine/metadata.py"

FENCING = (
    Patch(
        "the mark of a job stays when its try is over",
        ALONE,
        "if record is self._trial:",
        "if record is self._trial and record.result is not None:",
        fencing=True,
        seed=3,
    ),
    Patch(
        "whoever finds a mark counts it, whether its job was being tried or not",
        METADATA,
        "found = told.forgives() if ours or lives else told.rests()",
        "found = told.tries(told.crashes[0][0]).rests() if told.crashes else told",
        fencing=True,
        seed=3,
    ),
    Patch(
        "what has ended its worker alone is tried for ever",
        ALONE,
        "return crashes >= MAX_CRASHES and record.log.suspicion.of(record.offset) > 0",
        "return False",
        fencing=True,
        seed=3,
    ),
    Patch(
        "suspects are never tried alone",
        METADATA,
        "alone = bool(found.crashes) or (found.rounds >= ALONE_FROM and not (ours or lives))",
        "alone = False",
        fencing=True,
        seed=3,
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
        seed=110,
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
        seed=46,
    ),
    Patch(
        "a shard that was lost keeps its lanes",
        TAKING,
        "shard.wipe()",
        "shard.active = shard.answered = False",
        fencing=True,
        seed=1214,
    ),
    Patch(
        "what belongs to an assignment that is over still runs",
        TAKING,
        "old.live = old.begins = False",
        "pass",
        fencing=True,
    ),
    Patch(
        "what a shard has to read again is not read again",
        TAKING,
        "self._out.seek(log, BEGINNING if base is None else base.offset)",
        "log.stale = False",
        fencing=True,
        seed=224,
    ),
    Patch(
        "a job's record in main runs beside its record from a tier",
        PARKING,
        "if record.place in lane.parked or lane.waits(record.place):",
        "if record.place in lane.parked:",
        fencing=True,
        seed=307,
    ),
    Patch(
        "of a long tier the rest is not read again",
        TAKING,
        "self._out.seek(log, log.refetch)",
        "pass",
        fencing=True,
    ),
    Patch(
        "of a long tier the rest is read again from one too far",
        TAKING,
        "self._out.seek(log, log.refetch)",
        "self._out.seek(log, log.refetch + 1)",
        fencing=True,
    ),
    Patch(
        "a parked job that is not in memory is forgotten",
        INTAKE,
        "lanes[key] = (place, due, waiting)",
        "pass",
        fencing=True,
    ),
    Patch(
        "records fetched before a seek are taken in",
        ENGINE,
        "if log is None or log.stale:\ncontinue",
        "if log is None:\n    continue",
        fencing=True,
    ),
    Patch(
        "an end that was told before a seek is taken in",
        ENGINE,
        "if log is None or log.stale:\nreturn",
        "if log is None:\n    return",
        fencing=True,
        seed=208,
    ),
    Patch(
        "a cycle of an assignment that is over counts as committed",
        ENGINE,
        "if cycle.epoch == self._epoch:",
        "if True:",
        fencing=True,
    ),
    Patch(
        "lanes start while their shard is rebuilt",
        TURNS,
        "if lane.running or not shard.active:",
        "if lane.running:",
        fencing=True,
    ),
    Patch(
        "partitions are given back while a commit is under way",
        SHELL,
        "self._forget(logs)\nyield from self._flush_wire()",
        "self._forget(logs)",
        fencing=True,
        seed=176,
    ),
    Patch(
        "a member that was expelled keeps what it had in hand",
        SHELL,
        'self.judge.totals["lost"] += 1\nself._forget(list(self.consumer.fetches))',
        'self.judge.totals["lost"] += 1',
        fencing=True,
    ),
    Patch(
        "the end of a tier does not end its rebuilding",
        INTAKE,
        "log.scanned = max(log.scanned or 0, offset)",
        "log.scanned = log.scanned or 0",
        fencing=True,
    ),
    Patch(
        "a transaction that was refused counts as committed",
        COMMITS,
        "yield from self._give_up(txn, fatal=refused.fatal)\nself._aborted(cycle)",
        "yield from self._give_up(txn, fatal=refused.fatal)\nself.engine.committed(cycle)",
        fencing=True,
    ),
)
