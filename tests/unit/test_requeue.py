"""Which dead letters are put back, and with which headers."""

from __future__ import annotations

from typing import Any

import pytest

from streamjobs.deadletters import DeadLetter
from streamjobs.headers import MAX_HEADERS, Origin, read_delivery, write_requeue
from streamjobs.requeue import Fate, Result, Selection

THERE = {0: (0, 10), 1: (100, 117)}


def letter(job_id: str | None, partition: int = 0, offset: int = 3) -> DeadLetter:
    nothing: dict[str, Any] = dict.fromkeys(DeadLetter.__dataclass_fields__)
    return DeadLetter(
        **{**nothing, "id": job_id, "partition": partition, "offset": offset, "taken": False}
    )


def fates(selection: Selection) -> dict[str, Fate]:
    return {result.name: result.fate for result in selection.rest(THERE)}


def test_the_named_ones_are_chosen_by_id_and_by_place() -> None:
    selection = Selection(["a", "1:105", "b"])
    assert selection.choose(letter("a"), taken=False) == "a"
    assert selection.choose(letter(None, 1, 105), taken=False) == "1:105"
    assert selection.choose(letter("c"), taken=False) is None
    assert selection.choose(letter(None, 1, 106), taken=False) is None
    assert fates(selection) == {"b": Fate.UNKNOWN}


def test_of_several_of_one_id_those_that_were_not_taken() -> None:
    # given a job that was put back and died again, twice since
    selection = Selection(["a"])
    assert selection.choose(letter("a", offset=1), taken=True) is None
    assert selection.choose(letter("a", offset=2), taken=False) == "a"
    assert selection.choose(letter("a", offset=3), taken=False) == "a"
    assert selection.choose(letter("a", offset=4), taken=True) is None
    assert fates(selection) == {}


def test_what_was_put_back_before_is_told_and_what_is_not_there_is_told_apart() -> None:
    names = ["taken", "0:7", "nobody", "1:99", "1:100", "9:0", "1:200", "taken"]
    selection = Selection(names)
    assert selection.choose(letter("taken"), taken=True) is None
    assert selection.choose(letter("other", 0, 7), taken=True) is None
    assert list(fates(selection).items()) == [
        ("taken", Fate.ALREADY),
        ("0:7", Fate.ALREADY),
        ("nobody", Fate.UNKNOWN),
        ("1:99", Fate.TRIMMED),
        ("1:100", Fate.UNKNOWN),
        ("9:0", Fate.UNKNOWN),
        ("1:200", Fate.UNKNOWN),
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("1:99", "dead letter 1:99 was deleted by the retention of the DLQ, whose partition 1 "),
        ("nobody", "there is no dead letter nobody: 'streamjobs dlq list' has those there are"),
    ],
)
def test_a_problem_names_the_dead_letter(name: str, told: str) -> None:
    (result,) = Selection([name]).rest(THERE)
    assert isinstance(result, Result)
    assert (result.problem or "").startswith(told)


def test_a_dead_letter_is_put_back_as_if_it_were_new() -> None:
    dead: list[tuple[str, bytes | None]] = [
        ("trace", b"1"),
        ("sj-attempt", b"7"),
        ("sj-rung", b"3"),
        ("sj-origin", b"id:0:1"),
        ("sj-reason", b"exhausted"),
        ("sj-error-trace", b"line"),
        ("sj-unique", b"u"),
        ("trace", None),
        ("sj-requeued-from", b"old"),
    ]
    headers = write_requeue(dead, Origin("id", 2, 9))
    assert headers == [("sj-requeued-from", b"id:2:9"), ("trace", b"1"), ("trace", None)]
    # and on its next way down it begins at the bottom
    assert read_delivery(headers, rung=0).attempts == 1


def test_a_replay_keeps_the_id_that_its_value_does_not_tell() -> None:
    flood = [("x", b"")] * (MAX_HEADERS - 2)
    dead = [("sj-id", b"new"), ("sj-replay-of", b"old"), *flood, ("sj-id", b"forged")]
    headers = write_requeue(dead, Origin("id", 0, 0))
    assert headers[:3] == [
        ("sj-requeued-from", b"id:0:0"),
        ("sj-id", b"new"),
        ("sj-replay-of", b"old"),
    ]
    assert headers[3:] == flood
