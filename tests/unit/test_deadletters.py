"""Dead letters whose every byte may be hostile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from streamjobs.deadletters import dead_letter
from streamjobs.errors import InvalidRecord, SchemaUnavailable
from streamjobs.kafka.reader import Record


class Codec:
    """Describes every value the same, or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def describe(self, value: bytes | None, /) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


SOUND = Codec(SimpleNamespace(id="id-1", job="send_mail", args={"n": 1}))
BROKEN = Codec(InvalidRecord("3 bytes left over"))
STAMP = 1_700_000_000_000
RECORD = Record(
    "shop.mail.dlq",
    3,
    17,
    STAMP,
    b"k",
    b"value",
    (
        ("sj-attempt", b"4"),
        ("sj-reason", b"exhausted"),
        ("sj-error-type", b"ValueError"),
        ("sj-error-message", "é".encode()),
        ("sj-error-trace", b"line 1\nline 2"),
        ("sj-failed-at", b"1700000000123"),
        ("sj-origin", b"oJb6HSEoTK6P+Wt1SX85zA:3:99"),
    ),
)


def with_headers(*headers: tuple[str, bytes | None]) -> Record:
    return replace(RECORD, headers=headers)


def test_a_sound_record_is_read_in_full() -> None:
    letter = dead_letter(RECORD, SOUND)
    assert (letter.id, letter.job, letter.key, letter.args) == ("id-1", "send_mail", "k", {"n": 1})
    assert (letter.attempts, letter.reason) == (4, "exhausted")
    assert (letter.error_type, letter.error_message) == ("ValueError", "é")
    assert letter.error_trace == "line 1\nline 2"
    assert letter.failed_at == datetime.fromtimestamp(STAMP / 1000, UTC).replace(microsecond=123000)
    assert letter.origin == "oJb6HSEoTK6P+Wt1SX85zA:3:99"
    assert (letter.raw, letter.raw_key, letter.place) == (None, None, "3:17")


def test_what_cannot_be_decoded_keeps_its_bytes_and_says_why() -> None:
    letter = dead_letter(with_headers(("sj-reason", b"invalid")), BROKEN)
    assert (letter.id, letter.job, letter.args) == (None, None, None)
    assert letter.raw == b"value"
    assert (letter.error_message, letter.attempts) == ("3 bytes left over", 0)


def test_arguments_that_are_no_record_count_as_undecodable() -> None:
    letter = dead_letter(RECORD, Codec(SimpleNamespace(id="x", job="y", args=[1])))
    assert (letter.args, letter.raw) == (None, b"value")


def test_a_replays_id_wins_over_the_envelopes() -> None:
    assert dead_letter(with_headers(("sj-id", b"new")), SOUND).id == "new"
    assert dead_letter(with_headers(("sj-id", b"new")), BROKEN).id == "new"


@pytest.mark.parametrize("value", [b"", b"-1", b"x", "٣".encode(), b"1e9", b"9" * 40, None])
def test_forged_numbers_become_what_is_known(value: bytes | None) -> None:
    letter = dead_letter(with_headers(("sj-attempt", value), ("sj-failed-at", value)), SOUND)
    assert letter.attempts == 0
    assert letter.failed_at == datetime.fromtimestamp(STAMP / 1000, UTC)


def test_a_count_nobody_can_have_reached_is_cut() -> None:
    assert dead_letter(with_headers(("sj-attempt", b"999999999999")), SOUND).attempts == 1_000_000


@pytest.mark.parametrize("value", [b"", b"a:b:c", b"a:1", b"a:1:2:3", b":::", b"a:-1:2"])
def test_a_forged_origin_is_none(value: bytes) -> None:
    assert dead_letter(with_headers(("sj-origin", value)), SOUND).origin is None


def test_keys_and_texts_that_are_no_utf8() -> None:
    record = replace(with_headers(("sj-error-message", b"caf\xe9")), key=b"\xff")
    letter = dead_letter(record, SOUND)
    assert (letter.key, letter.raw_key, letter.error_message) == (None, b"\xff", "caf\\xe9")


def test_the_first_of_doubled_headers_counts_and_floods_are_cut() -> None:
    flood = [("x", b"")] * 10_000
    doubled = with_headers(("sj-reason", b"failed"), ("sj-reason", b"forged"), *flood)
    assert dead_letter(doubled, SOUND).reason == "failed"


def test_times_outside_the_calendar_are_none() -> None:
    assert dead_letter(replace(with_headers(), timestamp_ms=-1), SOUND).failed_at is None
    late = with_headers(("sj-failed-at", b"999999999999999"))
    assert dead_letter(late, SOUND).failed_at == datetime.fromtimestamp(STAMP / 1000, UTC)


def test_schemas_that_cannot_be_had_now_are_no_reason_to_call_it_undecodable() -> None:
    with pytest.raises(SchemaUnavailable):
        dead_letter(RECORD, Codec(SchemaUnavailable("no answer")))


def test_filters_by_id_place_and_reason() -> None:
    letter = dead_letter(RECORD, SOUND)
    assert letter.matches([], [])
    assert letter.matches(["id-1"], ["exhausted"])
    assert letter.matches(["3:17", "other"], [])
    assert not letter.matches(["3:18"], [])
    assert not letter.matches(["id-1"], ["invalid"])
