"""Numbers in sentences, as people write them."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return ``1 job``, ``0 jobs``, ``336,776 jobs``.

    Args:
        count: how many there are.
        one: the word for one of them.
        many: the word for more, where it is not ``one`` with an ``s``.
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
