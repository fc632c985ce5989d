"""Dead letters as people read them: what the DLQ holds, decoded as far as it can be.

Everything in a record may be hostile: what cannot be read is None, and reading goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from streamjobs.errors import RecordError, SchemaUnavailable
from streamjobs.headers import (
    ATTEMPT,
    ERROR_MESSAGE,
    ERROR_TRACE,
    ERROR_TYPE,
    FAILED_AT,
    JOB_ID,
    MAX_COUNT,
    ORIGIN,
    REASON,
    first_values,
    read_origin,
)
from streamjobs.kafka.reader import Record, read
from streamjobs.marks import survey
from streamjobs.settings import Settings
from streamjobs.topics import QueueTopics

# The end of year 9999: what no datetime can hold is no time of a failure.
_MAX_EPOCH_MS = 253_402_300_799_999


class Described(Protocol):
    """A record's own account of itself, read with its writer schema alone."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def job(self) -> str:
        """The job's name."""

    @property
    def args(self) -> Any:
        """The arguments by name."""


class Describer(Protocol):
    """What reads a value without knowing its job: the codec's ``Decoder``."""

    def describe(self, value: bytes | None, /) -> Described:
        """Return what the value says, or raise ``RecordError``."""


@dataclass(frozen=True)
class DeadLetter:
    """One record of a DLQ.

    Attributes:
        id: the job's id; None where neither header nor value tells it.
        job: the job's name; None where the value cannot be decoded.
        key: the ordering key; None for jobs without order, and where it is not UTF-8.
        raw_key: the key as stored where it is not UTF-8, else None.
        args: the arguments by name; None where the value cannot be decoded.
        raw: the value as stored where it cannot be decoded, else None.
        attempts: how many were made; 0 for a record that never was a job.
        reason: why it is here: ``exhausted``, ``rejected``, ``invalid`` and so on.
        error_type: of the last failure.
        error_message: of the last failure; for what cannot be decoded, why.
        error_trace: of the last failure.
        failed_at: when it came here, UTC; the broker's stamp where no header tells.
        origin: ``TOPICID:PARTITION:OFFSET`` of the job in its main topic.
        partition: of the DLQ.
        offset: in the DLQ.
        taken: whether it was put back.
    """

    id: str | None
    job: str | None
    key: str | None
    raw_key: bytes | None
    args: dict[str, Any] | None
    raw: bytes | None
    attempts: int
    reason: str | None
    error_type: str | None
    error_message: str | None
    error_trace: str | None
    failed_at: datetime | None
    origin: str | None
    partition: int
    offset: int
    taken: bool = False

    @property
    def place(self) -> str:
        """``PARTITION:OFFSET``: names a dead letter whose id cannot be read."""
        return f"{self.partition}:{self.offset}"

    def matches(self, ids: Collection[str], reasons: Collection[str]) -> bool:
        """Whether it is one of ``ids`` (ids or places) and ``reasons``; empty: any."""
        named = not ids or self.id in ids or self.place in ids
        return named and (not reasons or self.reason in reasons)


def read_dead_letters(
    settings: Settings, topics: QueueTopics, describer: Describer
) -> Iterator[DeadLetter]:
    """Yield every dead letter there was when the reading began, partition by partition in order.

    Those that were put back since are among them, and say so (``taken``). Memory is bounded: beside
    what the reader holds, a bit for each offset of the DLQ.

    Args:
        settings: of the process.
        topics: of the queue.
        describer: decodes values.

    Raises:
        TopicsError: there is no DLQ.
        BrokerUnavailable: the DLQ could not be read to its end.
        SchemaUnavailable: the schemas cannot be had, so nothing can be told about the values.
    """
    log = survey(settings, topics)
    for record in read(settings, log.ranges, whole=True):
        letter = dead_letter(record, describer)
        taken = (record.partition, record.offset) in log.taken
        yield replace(letter, taken=True) if taken else letter


def dead_letter(record: Record, describer: Describer) -> DeadLetter:
    """Read one record of a DLQ.

    Raises:
        SchemaUnavailable: its schema cannot be had now; the value may be perfectly good.
    """
    headers = first_values(record.headers)
    described, problem = _describe(record.value, describer)
    key, raw_key = _key(record.key)
    origin = read_origin(headers.get(ORIGIN))
    told = None if described is None else described.id
    return DeadLetter(
        id=_text(headers.get(JOB_ID)) or told,
        job=None if described is None else described.job,
        key=key,
        raw_key=raw_key,
        args=None if described is None else dict(described.args),
        raw=record.value if described is None else None,
        attempts=_attempts(headers.get(ATTEMPT, b"")),
        reason=_text(headers.get(REASON)),
        error_type=_text(headers.get(ERROR_TYPE)),
        error_message=_text(headers.get(ERROR_MESSAGE)) or problem,
        error_trace=_text(headers.get(ERROR_TRACE)),
        failed_at=_time(headers.get(FAILED_AT)) or _epoch_ms(record.timestamp_ms),
        origin=None if origin is None else str(origin),
        partition=record.partition,
        offset=record.offset,
    )


def _describe(value: bytes | None, describer: Describer) -> tuple[Described | None, str | None]:
    try:
        described = describer.describe(value)
    except SchemaUnavailable:
        raise
    except RecordError as error:
        return None, str(error)
    if not isinstance(described.args, dict):
        return None, "its arguments are no record"
    return described, None


def _key(key: bytes | None) -> tuple[str | None, bytes | None]:
    if key is None:
        return None, None
    try:
        return key.decode(), None
    except UnicodeDecodeError:
        return None, key


def _attempts(value: bytes) -> int:
    return min(int(value), MAX_COUNT) if value.isdigit() and len(value) <= 19 else 0


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _time(value: bytes | None) -> datetime | None:
    if value is None or not value.isdigit() or len(value) > 15:
        return None
    return _epoch_ms(int(value))


def _epoch_ms(milliseconds: int) -> datetime | None:
    if not 0 <= milliseconds <= _MAX_EPOCH_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
