"""Decoded values as JSON values."""

from __future__ import annotations

import base64
import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def jsonable(value: Any) -> Any:
    """Return what fastavro read as JSON has it.

    Bytes become base64, dates and times ISO 8601; decimals, UUIDs and the numbers that JSON lacks
    (NaN, infinities) become text.
    """
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return str(value)
    return value
