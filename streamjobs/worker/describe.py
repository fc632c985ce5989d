"""Turns an exception into the text that travels with a failed job; bounded, and never fails.

``traceback.format_exception`` costs 50 to 100 us, more than all the rest of a failed job. Here the
text of a place in the code is made once and kept.
"""

from __future__ import annotations

import linecache
from functools import lru_cache
from types import CodeType, TracebackType

from streamjobs.headers import Failure

# In characters; UTF-8's worst case of 4 bytes each stays far below topics.HEADER_ROOM.
TYPE_CHARS, MESSAGE_CHARS, TRACE_CHARS = 200, 1_000, 8_000
FRAMES, CHAIN, NESTED = 30, 5, 2


def describe(error: BaseException, *, skip: int = 0) -> Failure:
    """Describe an exception as type, message and trace.

    Args:
        error: what was raised.
        skip: how many of the outermost frames are ours and tell the user nothing.
    """
    trace = "".join(_chain(error, skip))
    if len(trace) > TRACE_CHARS:
        trace = "[...]\n" + trace[-TRACE_CHARS:]
    return Failure(_type_name(error)[:TYPE_CHARS], message_of(error), trace)


def message_of(error: BaseException) -> str:
    """Return what an exception says, at most 1,000 characters, whatever its ``__str__`` does."""
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - an exception that cannot be printed is common
        return f"(its message cannot be read: __str__ raised {_type_name(second)})"
    return text if len(text) <= MESSAGE_CHARS else text[:MESSAGE_CHARS] + " [...]"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _chain(error: BaseException, skip: int) -> list[str]:
    """The trace of an exception after those of what it came from."""
    parts = [_alone(error, skip)]
    for _ in range(CHAIN):
        cause, link = _cause(error)
        if cause is None:
            return parts
        parts = [_alone(cause, 0), f"\n{link}\n\n", *parts]
        error = cause
    return ["[...]\n", *parts]


def _alone(error: BaseException, skip: int, depth: int = 0) -> str:
    """The trace of an exception without those it came from; of a group, with its members'."""
    text = "".join(_frames(error.__traceback__, skip))
    text += f"{_type_name(error)}: {message_of(error)}\n"
    members = _members(error) if depth < NESTED else ()
    for place, member in enumerate(members[:CHAIN], 1):
        text += f"\n{place} of {len(members)} in it:\n\n{_alone(member, 0, depth + 1)}"
    return text


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    try:
        return tuple(error.exceptions)
    except BaseException:  # noqa: BLE001 - a class of somebody's own may do anything there
        return ()


def _cause(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, "which was the direct cause of:"
    if error.__suppress_context__:
        return None, ""
    return error.__context__, "during the handling of which came:"


def _frames(trace: TracebackType | None, skip: int) -> list[str]:
    lines: list[str] = []
    while trace is not None:
        lines.append(_place(trace.tb_frame.f_code, trace.tb_lineno))
        trace = trace.tb_next
    lines = lines[skip:]
    if len(lines) > FRAMES:
        half = FRAMES // 2
        lines = [*lines[:half], f"  [... {len(lines) - FRAMES} more frames]\n", *lines[-half:]]
    return lines


@lru_cache(maxsize=4096)
def _place(code: CodeType, line: int) -> str:
    source = linecache.getline(code.co_filename, line).strip()
    text = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
    return text + (f"    {source}\n" if source else "")
