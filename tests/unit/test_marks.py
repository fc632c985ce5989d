"""Which dead letters were taken, from marks of which any may be damaged, foreign or old."""

from __future__ import annotations

import random

import pytest

from streamjobs.kafka.reader import Record
from streamjobs.marks import Taken, mark_key, mark_value

THERE = {0: (0, 10), 1: (100, 117), 2: (5, 5)}


def mark(key: bytes | None, value: bytes | None = mark_value("id")) -> Record:
    return Record("shop.mail.marks", 0, 0, 0, key, value, ())


def taken(*marks: Record, topic_id: str = "id") -> set[tuple[int, int]]:
    found = Taken(topic_id, THERE)
    found.see(marks)
    return {(p, offset) for p in (0, 1, 2, 3) for offset in range(200) if (p, offset) in found}


def test_exactly_the_marked_ones_are_taken() -> None:
    seeded = random.Random(7)
    for _ in range(50):
        places = {(0, seeded.randrange(10)) for _ in range(3)}
        places |= {(1, seeded.randrange(100, 117)) for _ in range(9)}
        assert taken(*(mark(mark_key(*place)) for place in places)) == places


def test_marks_of_what_is_no_longer_or_not_yet_there_cost_nothing() -> None:
    places = [(0, 10), (1, 99), (1, 117), (2, 5), (3, 0), (0, 2**62), (9_999_999_999, 0)]
    assert taken(*(mark(mark_key(*place)) for place in places)) == set()


def test_a_mark_of_a_dlq_that_was_deleted_says_nothing() -> None:
    old = mark(mark_key(0, 3), mark_value("another"))
    assert taken(old) == set()
    assert taken(old, mark(mark_key(0, 3))) == {(0, 3)}
    # where the broker has no ids, all are of one topic
    assert taken(old, topic_id="") == {(0, 3)}


def test_a_mark_that_cannot_be_read_counts_and_a_tombstone_does_not() -> None:
    assert taken(mark(mark_key(0, 1), b"\xff"), mark(mark_key(0, 2), b"")) == {(0, 1), (0, 2)}
    assert taken(mark(mark_key(0, 1)), mark(mark_key(0, 1), None)) == set()
    assert taken(mark(mark_key(0, 1), None), mark(mark_key(0, 1))) == {(0, 1)}


@pytest.mark.parametrize(
    "key",
    [
        *(None, b"", b"dlq:", b"dlq:0:x", b"dlq:0:-1", b"dlq:0:1:2", b"x:0:1", b"dlq:0:1\n"),
        *("dlq:0:٣".encode(), b"dlq:0:" + b"1" * 100),
    ],
)
def test_what_is_no_mark_of_a_dead_letter_is_left_alone(key: bytes | None) -> None:
    assert taken(mark(key)) == set()
