"""Each rule catches a history that breaks just that rule, and excuses what it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from history.events import Outcome
from history.judge import RULES, Violation, judge
from history.model import Gap, Sample
from unit.history.scenes import (
    DLQ,
    MAIN,
    STRANGER,
    TIER,
    A,
    B,
    C,
    Scene,
    a_slow_take_over,
    fresh,
    ns,
    rules,
    sound,
    stored,
    waiting_again_after_it_ran,
    waiting_twice_at_a_time,
    waits_again,
)


def test_nothing_is_wrong_with_a_sound_history() -> None:
    assert judge(sound().history, {"jobs": 3, "retries": 1, "waiting moves": 1, "dead": 2}) == []


# -- one rule each ---------------------------------------------------------------------------------


def acknowledged_and_not_there(scene: Scene) -> None:
    lost = scene.job(STRANGER, 9, 1)
    scene.history.stored.remove(lost)


def never_started(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1, key=None)


def failed_and_not_moved(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1, key=None)
    scene.attempt(STRANGER, 5, 5.1, Outcome.FAILED, key="")


def dead_and_not_buried(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1, key=None)
    scene.attempt(STRANGER, 5, 5.1, Outcome.DEAD, key="")


def poison_dropped(scene: Scene) -> None:
    scene.poison(4, 1)


def not_drained(scene: Scene) -> None:
    scene.history.ends[TIER, 0] = 7


def success_and_dlq(scene: Scene) -> None:
    scene.moved(stored(scene, MAIN, 1), DLQ, 5, 4, 1)


def two_outcomes(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1, key=None)
    scene.attempt(STRANGER, 5, 5.1, Outcome.SUCCEEDED, key="")
    scene.kill(5.15)
    scene.attempt(STRANGER, 15, 15.1, Outcome.DISCARDED, worker=2, key="")


def other_bytes_in_the_dlq(scene: Scene) -> None:
    copy = stored(scene, DLQ, 0)
    scene.history.stored.remove(copy)
    scene.history.stored.append(replace(copy, value=b"other"))


def another_key_in_a_tier(scene: Scene) -> None:
    copy = stored(scene, TIER, 0)
    scene.history.stored.remove(copy)
    scene.history.stored.append(replace(copy, key=None))


def a_move_from_nowhere(scene: Scene) -> None:
    scene.moved(replace(stored(scene, MAIN, 1), origin=(0, 77)), TIER, 9, 4, 1)


def a_follower_overtakes(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1)
    scene.attempt(STRANGER, 3.55, 3.59)


def a_follower_overtakes_a_dead_one(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1, key="other")
    scene.attempt(STRANGER, 1.8, 1.9, key="other")


def two_of_a_key_at_a_time(scene: Scene) -> None:
    scene.kill(20)
    scene.job(STRANGER, 4, 1)
    scene.attempt(STRANGER, 5, 6)
    scene.attempt(STRANGER, 5.5, 6, worker=2)
    scene.cycle(5.2)


def a_follower_beside_what_runs_again(scene: Scene) -> None:
    scene.job(STRANGER, 4, 1)
    scene.job(STRANGER.replace("beef", "beee"), 5, 1)
    scene.attempt(STRANGER, 5, 5.1)
    scene.kill(5.15)
    scene.attempt(STRANGER, 12, 13, worker=2)
    scene.attempt(STRANGER.replace("beef", "beee"), 12.5, 12.6, worker=2)


def two_in_one_process(scene: Scene) -> None:
    scene.attempt(A, 3.65, 3.66, number=2)


def an_attempt_too_early(scene: Scene) -> None:
    scene.attempt(C, 4, 4.1, Outcome.DEAD, number=2, key="other")


def again_without_a_crash(scene: Scene) -> None:
    scene.attempt(B, 6, 6.1, worker=2)


def again_although_committed(scene: Scene) -> None:
    scene.kill(5)
    scene.attempt(B, 12, 12.1, worker=2)


def twice_in_a_tier(scene: Scene) -> None:
    scene.moved(stored(scene, MAIN, 0), TIER, 5, 3, 1)


def twice_in_the_dlq(scene: Scene) -> None:
    scene.moved(stored(scene, MAIN, 2), DLQ, 5, 3, 1)


def waiting_again_after_it_ran_above_the_offset(scene: Scene) -> None:
    scene.committed(3.85, 0, TIER, above=(0, 1, 2))
    waits_again(scene, 4)


def waiting_again_after_it_died(scene: Scene) -> None:
    scene.moved(stored(scene, MAIN, 2), TIER, 5, 3, 1, waiting=True)


def main_committed_too_far(scene: Scene) -> None:
    scene.committed(1.9, 1)


def a_tier_committed_too_far(scene: Scene) -> None:
    scene.committed(3.45, 1, TIER)


def the_child_of_a_failure(scene: Scene) -> None:
    child = scene.job(STRANGER, 4, 3, key=None, parent=C)
    scene.attempt(child.job or "", 4, 4.1, key="")


def a_child_twice(scene: Scene) -> None:
    for offset, job in enumerate((STRANGER, STRANGER.replace("beef", "beee")), start=4):
        scene.job(job, offset, 4 + offset, key=None, parent=A)
        scene.attempt(job, 20, 20.1, key="")


def a_worker_that_failed(scene: Scene) -> None:
    scene.history.processes[1].code = 1


BROKEN: list[tuple[Callable[[Scene], None], str]] = [
    (acknowledged_and_not_there, "no loss"),
    (never_started, "no loss"),
    (failed_and_not_moved, "no loss"),
    (dead_and_not_buried, "no loss"),
    (poison_dropped, "no loss"),
    (not_drained, "no loss"),
    (success_and_dlq, "one end"),
    (two_outcomes, "one end"),
    (other_bytes_in_the_dlq, "payload"),
    (another_key_in_a_tier, "payload"),
    (a_move_from_nowhere, "payload"),
    (a_follower_overtakes, "order"),
    (a_follower_overtakes_a_dead_one, "order"),
    (two_of_a_key_at_a_time, "overlap"),
    (a_follower_beside_what_runs_again, "overlap"),
    (two_in_one_process, "overlap"),
    (an_attempt_too_early, "attempts"),
    (again_without_a_crash, "duplicates"),
    (again_although_committed, "duplicates"),
    (twice_in_a_tier, "moves"),
    (twice_in_the_dlq, "moves"),
    (waiting_again_after_it_ran, "moves"),
    (waiting_again_after_it_ran_above_the_offset, "moves"),
    (waiting_twice_at_a_time, "moves"),
    (waiting_again_after_it_died, "moves"),
    (main_committed_too_far, "offsets"),
    (a_tier_committed_too_far, "offsets"),
    (the_child_of_a_failure, "children"),
    (a_child_twice, "children"),
    (a_slow_take_over, "liveness"),
    (a_worker_that_failed, "exits"),
]
# What cannot be broken alone: two attempts of a job at a time are a duplicate as well, and what is
# moved when it has been complete for a while comes from elsewhere.
BESIDES: dict[Callable[[Scene], None], set[str]] = {
    main_committed_too_far: {"moves"},
    two_of_a_key_at_a_time: {"duplicates"},
    two_in_one_process: {"duplicates"},
}


def test_each_rule_has_a_history_that_breaks_it_alone() -> None:
    alone = {rule for spoil, rule in BROKEN if spoil not in BESIDES}

    assert alone == {rule.__name__.replace("_", " ") for rule in RULES}


@pytest.mark.parametrize(("spoil", "rule"), BROKEN, ids=lambda x: getattr(x, "__name__", ""))
def test_a_history_that_breaks_a_rule_is_caught_by_it_alone(
    spoil: Callable[[Scene], None], rule: str
) -> None:
    scene = sound()

    spoil(scene)

    found = rules(scene.history)
    assert rule in found
    assert found - BESIDES.get(spoil, set()) == {rule}


def test_a_campaign_in_which_nothing_happened_is_void() -> None:
    assert rules(sound().history, kills=1) == {"vacuous"}
    assert rules(sound().history, **{"hit txn.begun": 20}) == {"vacuous"}


# -- what is excused -------------------------------------------------------------------------------


def run_again(end: float, again: float) -> Scene:
    """A job that worker 1 ended and worker 2 ran again."""
    scene = sound()
    scene.job(STRANGER, 4, 1)
    scene.attempt(STRANGER, 5, end)
    scene.attempt(STRANGER, again, again + 0.1, worker=2)
    return scene


@pytest.mark.parametrize(("start", "broken"), [(6.0, set()), (5.7, {"order"})])
def test_a_job_that_is_dead_of_its_process_s_end_has_ended_when_it_was_buried(
    start: float, broken: set[str]
) -> None:
    # given a job whose process ended in it, that is in the DLQ since, and one of its key behind it
    scene = sound()
    dead, follower = scene.job(STRANGER, 4, 1, key="x"), STRANGER.replace("beef", "beee")
    scene.job(follower, 5, 1.1, key="x")
    scene.attempt(STRANGER, 5, None, key="x")
    scene.kill(5.2)
    scene.moved(dead, DLQ, 2, 5.8, 1)

    scene.attempt(follower, start, 6.1, worker=2, key="x")

    assert rules(scene.history) == broken
    assert scene.history.totals()["dead with no end noted"] == 1


def test_what_a_killed_worker_had_not_committed_may_run_again() -> None:
    scene = run_again(5.1, 12)
    scene.cycle(5.15)  # taken perhaps before the loop had heard of the end
    scene.kill(5.2)

    assert rules(scene.history) == set()


def test_what_it_had_committed_may_not() -> None:
    scene = run_again(5.1, 12)
    scene.cycle(5.15)
    scene.cycle(5.16, done="cycle.transaction-done")
    scene.kill(5.2)

    assert rules(scene.history) == {"duplicates"}


def test_a_commit_that_was_not_answered_is_none() -> None:
    scene = run_again(5.1, 12)
    scene.hit("cycle.taken", 5.15)
    scene.hit("cycle.taken", 5.16)
    scene.kill(5.2)

    assert rules(scene.history) == set()


def test_what_is_known_to_be_forgotten_may_run_again_and_be_moved_again() -> None:
    scene = run_again(5.1, 12)
    scene.cycle(5.15)
    scene.cycle(5.16)
    scene.kill(5.2)
    scene.moved(stored(scene, MAIN, 0), TIER, 5, 12, 1)
    scene.history.gaps = frozenset({Gap.NO_METADATA})

    assert rules(scene.history) == set()


def test_after_every_hand_over_while_that_is_known() -> None:
    scene = run_again(5.1, 12)
    scene.hit("loop.drained", 6)
    assert rules(scene.history) == {"duplicates"}

    scene.history.gaps = frozenset({Gap.NO_METADATA})
    assert rules(fresh(scene.history)) == set()


def test_what_runs_again_from_main_goes_through_its_tiers_again() -> None:
    scene = sound()
    job = scene.job(STRANGER, 4, 1, key="z")
    scene.attempt(STRANGER, 5, 5.1, Outcome.FAILED, key="z")
    scene.moved(job, TIER, 5, 5.2, 1)
    scene.hit("loop.drained", 6)
    scene.attempt(STRANGER, 7, 7.1, number=2, worker=2, key="z")
    scene.attempt(STRANGER, 7.2, 7.3, Outcome.FAILED, worker=2, key="z")
    scene.moved(job, TIER, 6, 7.4, 1)
    scene.attempt(STRANGER, 9, 9.1, number=2, worker=2, key="z")
    assert rules(scene.history) == {"duplicates", "moves"}

    scene.history.gaps = frozenset({Gap.NO_METADATA})
    assert rules(fresh(scene.history)) == set()


def test_without_a_hand_over_nothing_is_forgotten() -> None:
    scene = run_again(5.1, 12)
    scene.history.gaps = frozenset({Gap.NO_METADATA})

    assert rules(scene.history) == {"duplicates"}


def test_a_worker_halted_past_its_session_may_overlap_with_its_successor() -> None:
    scene = run_again(13, 12)
    scene.halt(5.05, 12.9)

    assert rules(scene.history) == set()


def test_a_short_halt_excuses_nothing() -> None:
    scene = run_again(7, 6)
    scene.halt(5.05, 6.9)

    assert rules(scene.history) == {"duplicates", "overlap"}


def test_a_woken_worker_is_excused_until_it_has_learned_of_it() -> None:
    scene = run_again(13, 12)
    scene.halt(5.05, 12.9)
    scene.job(C.replace("3", "4"), 5, 1, key="third")
    scene.hit("loop.lost", 13.5)
    scene.attempt(C.replace("3", "4"), 13.9, 13.95, worker=1, key="third")
    assert rules(scene.history) == set()

    scene.attempt(C.replace("3", "4"), 14, 14.1, worker=2, key="third")
    assert rules(fresh(scene.history)) == {"duplicates"}


def test_who_lost_its_partitions_unasked_was_cut_off_before() -> None:
    scene = run_again(8, 7)
    scene.hit("loop.lost", 9)

    assert rules(scene.history) == set()


def test_who_is_woken_and_loses_them_a_second_time_was_cut_off_again() -> None:
    # given one that was halted, has learned of it, and has run something since
    scene = run_again(13, 12)
    scene.halt(5.05, 12.9)
    scene.hit("loop.lost", 13.1)
    late = C.replace("3", "4")
    scene.job(late, 5, 1, key="third")
    scene.attempt(late, 13.9, 13.95, worker=1, key="third")
    scene.attempt(late, 16, 16.1, worker=2, key="third")
    assert rules(scene.history) == {"duplicates"}

    # when its group goes on without it once more, while a broker is away say
    scene.hit("loop.lost", 15)
    assert rules(fresh(scene.history)) == set()


@pytest.mark.parametrize(("seconds", "broken"), [(19.9, {"duplicates"}), (20.0, set())])
@pytest.mark.parametrize("gives", ["all of it back", "some back"])
def test_what_is_not_committed_within_the_drain_budget_runs_again(
    gives: str, seconds: float, broken: set[str]
) -> None:
    # given one that ran something, and had so long to commit it when it gave it back
    scene = run_again(5.5, 40)
    if gives == "all of it back":
        process = scene.history.processes[1]
        process.asked, process.ended = ns(6), ns(6 + seconds)
    else:
        scene.hit("loop.revoked", 6)
        scene.hit("loop.drained", 6 + seconds)

    assert rules(scene.history) == broken


def test_a_worker_told_to_stop_before_it_listens_dies_of_the_signal() -> None:
    scene = sound()
    scene.history.processes[2].code = -15
    assert rules(scene.history) == set()

    scene.hit("loop.assigned", 1, worker=2)
    assert rules(fresh(scene.history)) == {"exits"}


# -- what is told ----------------------------------------------------------------------------------


def test_a_violation_tells_the_whole_history_of_its_job() -> None:
    scene = sound()
    again_although_committed(scene)

    (violation,) = judge(scene.history, {})
    story = scene.history.story(violation.job or "")

    assert isinstance(violation, Violation)
    lines = story.splitlines()
    assert any("producer enqueued at [0]@1" in line for line in lines)
    assert sum("worker 1 attempt 1 started" in line for line in lines) == 1
    assert any("worker 1 killed" in line for line in lines)
    assert any("worker 2 attempt 1 ended succeeded" in line for line in lines)
    assert any("retry.1s[0]@1" in line and "waiting" in line for line in lines)
    assert lines == sorted(lines)


def test_an_attempt_in_a_child_of_its_worker_has_its_own_end() -> None:
    scene = sound()
    scene.job(STRANGER, 4, 1, key=None)
    scene.attempt(STRANGER, 5, 5.1, key="")
    child = [replace(e, pid=999, serial=1) for e in scene.history.events[-2:]]
    scene.history.events[-2:] = child

    assert rules(scene.history) == set()
    assert scene.history.attempts_of[STRANGER][0].ended == ns(5.1)
    assert scene.history.attempts_of[A][0].outcome is Outcome.FAILED


def test_totals_count_what_happened() -> None:
    scene = run_again(5.1, 12)
    scene.kill(5.2)
    scene.halt(1, 1.5, worker=2)

    totals = scene.history.totals()

    assert totals["jobs"] == 4
    assert totals["starts"] == 6
    assert totals["duplicates"] == totals["kills"] == totals["stops"] == 1
    assert totals["dead"] == 2
    assert totals["retries"] == totals["waiting moves"] == totals["poison"] == 1
    assert totals["halts past the session"] == 0


def test_samples_after_the_end_of_an_attempt_are_fine() -> None:
    scene = sound()
    scene.history.samples.insert(0, Sample(ns(3.5), {(TIER, 0): 1}))

    assert rules(scene.history) == set()
    assert B in scene.history.jobs
