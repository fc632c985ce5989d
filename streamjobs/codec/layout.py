"""Where things stand in a job without options, which is nearly every job.

Its bytes are ``id`` (72, the zigzag of 36, and 36 characters), ``job``, ``enqueued_at``, one zero
byte (``options`` is null) and the arguments one after another, since an Avro record is its fields
and nothing else. So everything from ``enqueued_at`` on reads and writes as one flat record whose
second field is a boolean, at half the cost of nested records and a union.
"""

from __future__ import annotations

import re
from typing import Any

from streamjobs.codec.ids import UUID_PATTERN

# Names that no parameter can have, since they are keywords of Python.
TIME, OPTIONS = "from", "not"
TIME_SIZE = 8
"""Bytes of an ``enqueued_at`` from 1978 to 3111, as a zigzag varint of microseconds."""


def head(job: str) -> bytes:
    """Return the bytes before ``enqueued_at``, with ``%s`` where the id's text goes."""
    return b"H%s" + _varint(2 * len(job)) + job.encode("ascii")


def head_pattern(job: str) -> re.Pattern[bytes]:
    """Return what matches from ``id`` to ``options``; group 1 is the id.

    A match proves that options are null: seven bytes with the continuation bit and an eighth
    without it are one varint, so the zero byte after them is the union's.
    """
    before = re.escape(_varint(2 * len(job)) + job.encode("ascii"))
    pattern = b"H(" + UUID_PATTERN.encode() + b")" + before + b"[\x80-\xff]{7}[\x01-\x7f]\x00"
    return re.compile(pattern, re.DOTALL)


def body_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the flat record from ``enqueued_at`` on, of a schema without envelope types."""
    fields = schema["fields"][-1]["type"]["fields"]
    leading = [{"name": TIME, "type": "long"}, {"name": OPTIONS, "type": "boolean"}]
    return {**schema, "fields": [*leading, *fields]}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
