from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamjobs.headers import (
    MAX_COUNT,
    Delivery,
    Failure,
    Origin,
    Reason,
    foreign,
    read_delivery,
    read_origin,
    read_place,
    write_move,
)


def test_what_is_written_is_read_again() -> None:
    delivery = Delivery(attempts=3, rung=2, origin=Origin("AbC-_123", 7, 42))

    headers = write_move(
        delivery=delivery,
        reason=Reason.FAILED,
        failure=Failure("E", "m", "t"),
        failed_at_ms=5,
        worker="w",
    )

    assert read_delivery(headers, rung=1) == delivery
    assert dict(headers)["sj-reason"] == b"failed"
    assert dict(headers)["sj-error-trace"] == b"t"


@pytest.mark.parametrize(
    ("value", "attempts"),
    [
        (b"-1", 1),
        (b"0", 1),
        (b"9223372036854775808", MAX_COUNT),
        (b"9" * 50, 1),
        (b"\xff\xfe", 1),
        (b"1e3", 1),
        (b"\xd9\xa3", 1),
        (None, 1),
        (b"4", 4),
    ],
)
def test_forged_counts_are_clamped(value: bytes | None, attempts: int) -> None:
    assert read_delivery([("sj-attempt", value)], rung=1).attempts == attempts


def test_of_doubled_headers_the_first_counts_and_of_many_the_first_hundred() -> None:
    doubled = [("sj-attempt", b"2"), ("sj-attempt", b"9")]
    many = [("x", b"")] * 10_000 + [("sj-attempt", b"9")]

    assert read_delivery(doubled, rung=1).attempts == 2
    assert read_delivery(many, rung=1).attempts == 1
    assert len(list(foreign(many))) == 100


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"a:b:c",
        b"T:1",
        b"T:-1:5",
        b"T:0:99999999999999999999",
        b":" * 10_000,
        b"\xff:0:1:2",
    ],
)
def test_a_malformed_origin_is_none(value: bytes | None) -> None:
    assert read_origin(value) is None


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=200)), max_size=20))
def test_reading_never_fails(headers: list[tuple[str, bytes | None]]) -> None:
    names = ["sj-attempt", "sj-rung", "sj-origin"]
    hostile = [(names[i % 3], value) for i, (_, value) in enumerate(headers)]

    delivery = read_delivery(hostile, rung=3)

    assert 1 <= delivery.attempts <= MAX_COUNT
    assert 0 <= delivery.rung <= MAX_COUNT


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sj-origin", "sj-reason", "sj-attempt", "x"]),
            st.none()
            | st.sampled_from([b"waiting", b"failed", b"T:0:7", b":1:2", b"T:0:-1", b"T::"])
            | st.binary(max_size=6),
        )
    )
)
def test_a_place_is_what_the_whole_state_says(headers: list[tuple[str, bytes | None]]) -> None:
    whole = read_delivery(headers, rung=1)

    origin, waiting = read_place(headers)

    assert (None if origin is None else Origin(*origin)) == whole.origin
    assert waiting == whole.waiting
