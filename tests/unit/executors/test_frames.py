"""Frames and what they carry: nothing changes on the way, and what is no frame is refused."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamjobs.engine.records import Log, Record
from streamjobs.engine.results import (
    DISCARDED,
    INTERRUPTED,
    RELEASED,
    Crashed,
    Failed,
    Rejected,
    Result,
    Succeeded,
)
from streamjobs.executors.carry import (
    CarriedMessage,
    read_record,
    read_result,
    write_record,
    write_result,
)
from streamjobs.executors.frames import LENGTHS, MAX_HEAD, Frame, FrameError, Unpacker, pack
from streamjobs.headers import Delivery, Failure, Origin, Reason

FAILURE = Failure("ValueError", "\ud800 no\x00", "trace\n")
PARTS = st.lists(st.none() | st.binary(max_size=300), max_size=5)


def only(data: bytes) -> Frame:
    (frame,) = Unpacker().feed(data)
    return frame


@given(st.lists(st.tuples(st.text(), PARTS, st.text()), max_size=4), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[str, list[bytes | None], str]], size: int
) -> None:
    data = b"".join(pack(kind, parts, text=text) for kind, parts, text in frames)
    unpacker = Unpacker()

    out = [f for at in range(0, len(data), size) for f in unpacker.feed(data[at : at + size])]

    assert [(f.kind, f.parts, f.fields["text"]) for f in out] == frames


def framed(head: Any, body: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"printed by a job that found the pipe\n",
        LENGTHS.pack(MAX_HEAD + 1, 0),
        framed(b"{"),
        framed(b"\xff\xfe"),
        framed(b"[" * 100_000),
        framed([]),
        framed({"kind": "x", "fields": {}}),
        framed({"kind": "x", "fields": {}, "parts": [3]}, b"12"),
        framed({"kind": "x", "fields": {}, "parts": [1]}, b"12"),
        framed({"kind": "x", "fields": {}, "parts": ["1"]}, b"1"),
        framed({"kind": "x", "fields": [], "parts": []}),
        framed({"kind": 1, "fields": {}, "parts": []}),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        Unpacker().feed(data)


@pytest.mark.parametrize(
    "delivery",
    [
        None,
        Delivery(0, 0, None),
        Delivery(3, 2, Origin("AbC-_123", 7, 42), waiting=True, crashes=2),
    ],
)
def test_a_record_arrives_as_it_was(delivery: Delivery | None) -> None:
    headers = (("traceparent", b"\xff"), ("empty", None), ("sj-attempt", b"3"))
    message = CarriedMessage("t", 3, 2**60, (2, 1_700_000_000_123), b"\xffkey", None, headers, 4)

    carried = read_record(
        only(write_record(Record(Log("t", 3, 1.0, 1), 9, b"", message, delivery)))
    )

    assert carried.message == message
    assert carried.delivery == delivery
    assert (carried.offset, carried.log.live) == (2**60, True)


def attempted(result: Result | None = None) -> Record:
    message: Any = None
    made = Record(Log("t", 0, None, 0), 0, None, message)
    made.result, made.job = result, "send"
    return made


def child(topic: str, key: bytes | None, value: bytes) -> Any:
    return SimpleNamespace(topic=topic, key=key, value=value)


@pytest.mark.parametrize(
    "result",
    [
        None,
        Succeeded((child("a", None, b"\x00"), child("b", b"", b""))),
        DISCARDED,
        RELEASED,
        INTERRUPTED,
        Rejected(FAILURE, Reason.REJECTED),
        Failed(FAILURE),
        Failed(FAILURE, 1.5, Reason.UNKNOWN_JOB, Reason.UNKNOWN_JOB),
    ],
    ids=lambda result: type(result).__name__,
)
def test_a_result_arrives_as_it_was(result: Result | None) -> None:
    back = attempted(DISCARDED)
    back.job = "another"

    read_result(only(write_result(attempted(result))), back, child)

    assert (back.result, back.job) == (result, "send")


@pytest.mark.parametrize("released", [RELEASED, INTERRUPTED])
def test_what_was_given_back_is_told_apart_by_what_it_is(released: Result) -> None:
    back = attempted(DISCARDED)

    read_result(only(write_result(attempted(released))), back, child)

    assert back.result is released


def test_a_process_cannot_say_that_it_crashed() -> None:
    with pytest.raises(ValueError, match="crashed"):
        write_result(attempted(Crashed(-9, FAILURE)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"result": "succeeded"},
        {"result": "succeeded", "children": ["a"], "job": "x"},
        {"result": "crashed", "job": "x"},
        {"result": "failed", "failure": ["only"], "job": "x"},
        {"result": "rejected", "failure": ["a", "b", "c"], "reason": "whim", "job": "x"},
        {"result": "discarded"},
    ],
)
def test_what_is_no_result_is_refused_and_changes_nothing(fields: dict[str, Any]) -> None:
    back = attempted(DISCARDED)

    with pytest.raises(FrameError):
        read_result(Frame("result", fields, []), back, child)

    assert (back.result, back.job) == (DISCARDED, "send")
