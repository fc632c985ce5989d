"""Decoded values as JSON values."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python


def jsonable(value: Any) -> Any:
    """Return what fastavro read, or a hint makes of it, as JSON has it.

    Bytes become base64, dates, times and durations ISO 8601, Enums their names; decimals, UUIDs
    and the numbers that JSON lacks (NaN, infinities) become text.
    """
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    as_text = next((make for kind, make in _AS_TEXT if isinstance(value, kind)), None)
    return as_text(value) if as_text else value


_AS_TEXT: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.name),
    (bytes, lambda value: base64.b64encode(value).decode("ascii")),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, to_jsonable_python),
    ((Decimal, UUID), str),
)
