"""The judge of order: what a scene's journal has to say about jobs of one key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from integration.scene import Scene

Lines = Mapping[str, Sequence[str]]


def judge(scene: Scene, lines: Lines, *, cut_off: Sequence[str] = (), queue: str = "mail") -> None:
    """Demand order, no loss, and one end for each job.

    The journal has ``start ID`` when an attempt begins, and ``end ID`` or ``dead ID`` where it is
    a job's last. Jobs of a line start for the first time after all before them have ended.

    Args:
        scene: after its workers have ended.
        lines: the ids of each key's jobs, in the order in which they were enqueued.
        cut_off: the ids of jobs that ran when a worker was killed: they may have begun again.
        queue: whose dead letters count.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, (kind, job_id, *_) in enumerate(scene.journal):
        if kind == "start":
            first.setdefault(job_id, at)
        elif kind in ("end", "dead"):
            assert job_id not in last or job_id in cut_off, f"{job_id} ended twice"
            last.setdefault(job_id, at)
    wanted = {job_id for ids in lines.values() for job_id in ids}
    assert set(last) == wanted, f"{len(wanted - set(last))} lost, {len(set(last) - wanted)} unknown"
    for key, ids in lines.items():
        for number, (before, after) in enumerate(pairwise(ids)):
            early = f"key {key}: job {number + 1} began before job {number} had ended"
            assert last[before] < first[after], early
    died = set(scene.noted("dead"))
    assert not died & set(scene.noted("end")), "a job cannot end in both ways"
    letters = [letter["id"] for letter in scene.dead(queue)]
    assert sorted(letters) == sorted(died)


def judge_numbers(scene: Scene) -> None:
    """Demand that the jobs of each key began for the first time in the order of their numbers.

    The journal has ``start ID ATTEMPT KEY NUMBER``; numbers count up from 0, none is passed over.
    """
    seen: dict[str, int] = {}
    for kind, *words in scene.journal:
        if kind == "start" and words[1] == "1":
            _, _, key, number = words
            assert int(number) == seen.get(key, -1) + 1, (
                f"key {key}: {number} after {seen.get(key)}"
            )
            seen[key] = int(number)


def attempts(scene: Scene, job_id: str) -> int:
    """How often a job was started."""
    return scene.noted("start")[job_id]


def tier_records(scene: Scene, delay: str, queue: str = "mail") -> int:
    """How many records were ever moved to a tier."""
    return len(scene.records(f"{queue}.retry.{delay}"))
