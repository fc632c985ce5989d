"""Job ids: random UUIDs (RFC 9562, version 4) as canonical text, made many at a time.

``str(uuid.uuid4())`` asks the kernel and builds an object for every id: as much as encoding a job.
"""

from __future__ import annotations

import os
import re

UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_CANONICAL = re.compile(UUID_PATTERN)
_BATCH = 128
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

_ready: list[str] = []


def new_id() -> str:
    """Return a new random UUID as lower-case text; safe from every thread and after a fork."""
    while True:
        try:
            return _ready.pop()
        except IndexError:
            _ready.extend(_make(_BATCH))


def is_id(text: object) -> bool:
    """Whether ``text`` is a UUID in canonical lower-case text, of any version."""
    return isinstance(text, str) and _CANONICAL.fullmatch(text) is not None


def _make(count: int) -> list[str]:
    digits = os.urandom(16 * count).hex()
    return [
        f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"
        for h in (digits[at : at + 32] for at in range(0, 32 * count, 32))
    ]


# A child would hand out the same ids as its parent.
os.register_at_fork(after_in_child=_ready.clear)
