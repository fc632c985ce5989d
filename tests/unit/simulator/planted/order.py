"""Planted bugs about order, retries and what is complete: one-line changes of the engine."""

from __future__ import annotations

from unit.simulator.parts import Patch

CYCLES = "streamjobs/engine/cycles.py"
ENGINE = "streamjobs/engine/engine.py"
WATERMARK = "streamjobs/engine/watermark.py"
LANE = "streamjobs/engine/lane.py"
DECIDE = "streamjobs/engine/decide.py"
TURNS = "streamjobs/engine/turns.py"
INTAKE = "streamjobs/engine/intake.py"
PARKING = "streamjobs/engine/parking.py"
LADDER = "streamjobs/engine/ladder.py"
PRESSURE = "streamjobs/engine/pressure.py"
BREAKER = "streamjobs/engine/breaker.py"
SHARD = "streamjobs/engine/shard.py"
RETRY = "streamjobs/retry.py"

ORDER = (
    Patch(
        "commit too early: the position instead of the lowest incomplete offset",
        WATERMARK,
        "if pending or self.position is None:",
        "if self.position is None:",
    ),
    Patch(
        "an aborted cycle's moves are forgotten",
        CYCLES,
        "self._out.moves[:0] = [m for m in cycle.moves if m.record.log.live]",
        "pass",
    ),
    Patch(
        "what another reader brought during a drain is taken in again",
        INTAKE,
        "if position is not None and batch[0].offset() < position:  # type: ignore[operator]",
        "if False:",
    ),
    Patch(
        "a move uses no rung",
        DECIDE,
        "after = replace(tried, rung=tried.rung + 1)",
        "after = tried",
    ),
    Patch(
        "a record from a tier does not wait until main was received past it",
        LANE,
        "if record is None or (record.log.delay is not None and (position or 0) <= record.place):",
        "if record is None:",
        seed=66,
    ),
    Patch(
        "followers wait in the order of their arrival",
        LANE,
        "insort(self.waiting, record, key=by_place)",
        "self.waiting.append(record)",
    ),
    Patch(
        "a job that came due still counts as parked",
        INTAKE,
        "if record.place in lane.parked:\nlane.unpark(record.place)",
        "pass",
    ),
    Patch(
        "a job that failed does not park its key",
        TURNS,
        "lane.park(record.place, Parked(now + delay, None, waiting=False, era=shard.era))",
        "pass",
    ),
    Patch(
        "a job that was moved to wait is forgotten",
        PARKING,
        "lane.park(record.place, Parked(now + delay, None, waiting=True, era=shard.era))",
        "pass",
    ),
    Patch(
        "a new job of a parked key starts at once",
        INTAKE,
        "self._parking.line_up(shard, shard.lane(log.topic, key, now), record, now)",
        "starts.append([record])",
    ),
    Patch(
        "what was given back goes to the end of its line",
        TURNS,
        "insort(lane, record, key=by_place)",
        "lane.append(record)",
    ),
    Patch(
        "followers are lost when their key parks",
        SHARD,
        "lane.waiting = before or []",
        "pass",
    ),
    Patch(
        "a lane with a run out counts as free",
        TURNS,
        "lane.running, lane.since, lane.handed = True, now, len(run)",
        "lane.since, lane.handed = now, len(run)",
    ),
    Patch(
        "a lane is closed while its last run is out",
        TURNS,
        "if not lane.order and not lane.waiting:\nshard.lanes[main][lane.key] = None",
        "if not lane.order and not lane.waiting:\n    del shard.lanes[main][lane.key]",
    ),
    Patch(
        "what is evicted from memory is not moved",
        PARKING,
        "self._park(shard, lane, evicted, now)",
        "pass",
    ),
    Patch(
        "followers are moved, and kept in memory too",
        PARKING,
        "surplus, lane.waiting = lane.waiting, []",
        "surplus = list(lane.waiting)",
        seed=30,
    ),
    Patch(
        "who waits for main is not told that it went on",
        TURNS,
        "shard.for_main[main, lane.key] = None",
        "pass",
    ),
    Patch(
        "the end of a partition is ignored",
        WATERMARK,
        "if self.position is None or offset > self.position:",
        "if self.position is None:",
    ),
    Patch(
        "the end of a partition is taken one too far",
        WATERMARK,
        "if self.position is None or offset > self.position:\n"
        "self.position = offset\nself.news = True",
        "self.position, self.news = offset + 1, True",
    ),
    Patch(
        "that a record is complete is no news",
        WATERMARK,
        "self._done.add(offset)\nself.news = True",
        "self._done.add(offset)",
    ),
    Patch(
        "a record is due a second early",
        INTAKE,
        "while most > 0 and held and held[0][0] <= now:",
        "while held and held[0][0] <= now + 1.0:",
    ),
    Patch(
        "what failed starts before its delay is over",
        LANE,
        "return self.record is not None and (self.waiting or self.due <= now)",
        "return self.record is not None",
    ),
    Patch(
        "one that is tried in its place does not wait",
        LANE,
        "if now < self.not_before:",
        "if False:",
    ),
    Patch(
        "jobs without order are given a lane",
        INTAKE,
        "one_key = {Ordering.NONE: None, Ordering.PARTITION: ONE_LANE}",
        "one_key = {Ordering.NONE: ONE_LANE, Ordering.PARTITION: ONE_LANE}",
    ),
    Patch(
        "all priorities share the lanes of the first",
        INTAKE,
        "lanes, starts = shard.lanes[log.topic], shard.starts(log.topic)",
        "lanes, starts = shard.lanes[self._ladder.mains[0]], shard.starts(log.topic)",
    ),
    Patch(
        "a time that was asked for uses no rung",
        DECIDE,
        "after = replace(tried, rung=tried.rung + 1)",
        "after = replace(tried, rung=tried.rung + (failed.retry_after is None))",
    ),
    Patch(
        "a rung waits in the tier of the next",
        RETRY,
        "return rung",
        "return min(rung + 1, len(tiers) - 1)",
    ),
    Patch(
        "a time that was asked for is cut short",
        RETRY,
        "return min(bisect_left(tiers, retry_after), len(tiers) - 1)",
        "return max(bisect_left(tiers, retry_after) - 1, 0)",
    ),
    Patch(
        "what was only given back counts as an attempt",
        DECIDE,
        "case Released():\nself._turns.put_back(shard, record)",
        "case Released():\n"
        "    record.delivery = replace(shard.delivery(record), attempts=record.attempts + 1)\n"
        "    self._turns.put_back(shard, record)",
    ),
    Patch(
        "one try at once too few",
        DECIDE,
        "if tried.attempts <= self._ladder.immediate and failed.retry_after is None:",
        "if tried.attempts < self._ladder.immediate and failed.retry_after is None:",
    ),
    Patch(
        "the last attempt is not counted",
        DECIDE,
        "after = replace(before, attempts=before.attempts + 1, waiting=False)",
        "after = replace(before, waiting=False)",
    ),
    Patch(
        "the rung in a record's headers is not read",
        INTAKE,
        "delivery = read_delivery(headers_of(message), rung=log.rung)",
        "delivery = read_delivery([h for h in headers_of(message) if h[0] != 'sj-rung'], rung=1)",
    ),
    Patch(
        "a discarded job is not complete",
        DECIDE,
        "record.log.watermark.complete(record.offset)\nreturn Outcome.DISCARDED",
        "return Outcome.DISCARDED",
    ),
    Patch(
        "an aborted cycle's child jobs are forgotten",
        CYCLES,
        "self._out.children[:0] = [c for c in cycle.children if c[0].log.live]",
        "pass",
    ),
    Patch(
        "the watermark counts what is complete, whichever it is",
        WATERMARK,
        "while pending and pending[0] in done:\ndone.remove(pending.popleft())",
        "while pending and done:\n    done.pop(); pending.popleft()",
    ),
    Patch(
        "a tier that was paused is never read on",
        ENGINE,
        "half = log.holding <= HELD_PER_TIER // 2",
        "half = False",
    ),
    Patch(
        "a queue that paused itself stays paused",
        BREAKER,
        "if others:",
        "if False:",
    ),
    Patch(
        "a queue that paused itself tries no job",
        ENGINE,
        "self._probing = True",
        "pass",
    ),
)
