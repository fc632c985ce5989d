"""Frames between a worker and its child processes: a head of JSON, then raw bytes. Never pickle.

A frame is two lengths of 32 bits (big endian), the head, and the parts one after the other; the
head says what kind of frame it is and how long each part is, -1 for one that is null.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LENGTHS = struct.Struct(">II")
# The longest head is a record's with a hundred headers, or a failure's text: some 100 kB. What
# claims more is no head: somebody else wrote into the pipe.
MAX_HEAD = 16 * 2**20


class FrameError(ValueError):
    """What came through the pipe is no frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message through a pipe.

    Attributes:
        kind: what it is.
        fields: the rest of its head: JSON values.
        parts: raw bytes, or nulls.
    """

    kind: str
    fields: dict[str, Any]
    parts: list[bytes | None]


def pack(kind: str, parts: Sequence[bytes | None] = (), **fields: Any) -> bytes:
    """Return the bytes of a frame."""
    lengths = [-1 if part is None else len(part) for part in parts]
    head = json.dumps({"kind": kind, "parts": lengths, "fields": fields}).encode()
    body = b"".join(part for part in parts if part is not None)
    return LENGTHS.pack(len(head), len(body)) + head + body


class Unpacker:
    """Makes frames of bytes that come in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that are whole now.

        Raises:
            FrameError: they are no frame.
        """
        have = self._bytes
        have += data
        frames = []
        while len(have) >= LENGTHS.size:
            head, body = LENGTHS.unpack_from(have)
            if head > MAX_HEAD:
                raise FrameError(f"a head of length {head:,}")
            end = LENGTHS.size + head + body
            if len(have) < end:
                break
            frames.append(_frame(bytes(have[LENGTHS.size : end]), head))
            del have[:end]
        return frames


def _frame(data: bytes, head: int) -> Frame:
    try:
        told = json.loads(data[:head])
        lengths = told["parts"]
        parts, at = [], head
        for length in lengths:
            parts.append(None if length < 0 else data[at : at + length])
            at += max(0, length)
        frame = Frame(told["kind"], told["fields"], parts)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FrameError(f"a head that does not read: {error!r}") from error
    if at != len(data) or not isinstance(frame.kind, str) or not isinstance(frame.fields, dict):
        raise FrameError(
            f"a head that does not fit what follows it, of length {len(data) - head:,}"
        )
    return frame
