"""What is carried to a child process and back: a record, and what its attempt came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from streamjobs.engine.records import Log, Record
from streamjobs.engine.results import (
    DISCARDED,
    INTERRUPTED,
    RELEASED,
    Condemned,
    Crashed,
    Discarded,
    Failed,
    Rejected,
    Released,
    Result,
    Succeeded,
)
from streamjobs.executors.frames import Frame, FrameError, pack
from streamjobs.headers import Delivery, Failure, Headers, Reason, headers_of, read_origin

# Makes of a child job's topic, key and value what the commit cycle produces.
MakeChild = Callable[[str, bytes | None, bytes], Any]


@dataclass(frozen=True, slots=True)
class CarriedMessage:
    """Stands in for the client's record in the child."""

    topic_: str | None
    partition_: int | None
    offset_: int | None
    timestamp_: tuple[int, int]
    key_: bytes | None
    value_: bytes | None
    headers_: Headers
    epoch: int | None = None

    def topic(self) -> str | None:  # noqa: D102 - the client's, as all that follow
        return self.topic_

    def partition(self) -> int | None:  # noqa: D102
        return self.partition_

    def offset(self) -> int | None:  # noqa: D102
        return self.offset_

    def leader_epoch(self) -> int | None:  # noqa: D102
        return self.epoch

    def key(self) -> bytes | None:  # noqa: D102
        return self.key_

    def value(self) -> bytes | None:  # noqa: D102
        return self.value_

    def timestamp(self) -> tuple[int, int]:  # noqa: D102
        return self.timestamp_

    def headers(self) -> Headers | None:  # noqa: D102
        return self.headers_


def write_record(record: Record) -> bytes:
    """Return the frame that hands a record to a child."""
    message, delivery = record.message, record.delivery
    headers = headers_of(message)
    told = None
    if delivery is not None:
        origin = None if delivery.origin is None else str(delivery.origin)
        told = [delivery.attempts, delivery.rung, origin, delivery.waiting, delivery.crashes]
    return pack(
        "job",
        [message.key(), message.value(), *(value for _, value in headers)],
        place=[message.topic(), message.partition(), message.offset(), message.leader_epoch()],
        timestamp=message.timestamp(),
        headers=[name for name, _ in headers],
        delivery=told,
    )


def read_record(frame: Frame) -> Record:
    """Return the record that a frame carries; its log is a stand-in that is always live."""
    topic, partition, offset, epoch = frame.fields["place"]
    kind, at = frame.fields["timestamp"]
    key, value, *values = frame.parts
    headers = tuple(zip(frame.fields["headers"], values, strict=True))
    message = CarriedMessage(topic, partition, offset, (kind, at), key, value, headers, epoch)
    delivery = None
    if (told := frame.fields["delivery"]) is not None:
        attempts, rung, origin, waiting, crashes = told
        place = None if origin is None else read_origin(origin.encode())
        delivery = Delivery(attempts, rung, place, waiting, crashes)
    return Record(Log(topic, partition, None, 0), offset, key, message, delivery)


def write_result(record: Record) -> bytes:
    """Return the frame that says what a record's attempt came to."""
    job = record.job
    match record.result:
        case None:
            return pack("result", job=job, result="succeeded", children=[])
        case Succeeded(children):
            parts = [part for child in children for part in (child.key, child.value)]
            topics = [child.topic for child in children]
            return pack("result", parts, job=job, result="succeeded", children=topics)
        case Discarded():
            return pack("result", job=job, result="discarded")
        case Released(begun):
            return pack("result", job=job, result="released", begun=begun)
        case Rejected(failure, reason):
            return pack("result", job=job, result="rejected", failure=_told(failure), reason=reason)
        case Failed(failure, retry_after, reason, final):
            return pack(
                "result",
                job=job,
                result="failed",
                failure=_told(failure),
                retry_after=retry_after,
                reason=reason,
                final=final,
            )
        case Crashed() | Condemned():
            raise ValueError("a process cannot tell that it crashed")
        case _:
            assert_never(record.result)


def read_result(frame: Frame, record: Record, make_child: MakeChild) -> None:
    """Put into a record what its frame says of its attempt.

    Raises:
        FrameError: it says nothing that an attempt can come to.
    """
    try:
        result, job = _result(frame.fields, frame.parts, make_child), frame.fields["job"]
    except (KeyError, ValueError, TypeError) as error:
        raise FrameError(f"a result that does not read: {error!r}") from error
    record.result, record.job = result, job


def _result(
    fields: dict[str, Any], parts: Sequence[bytes | None], make_child: MakeChild
) -> Result | None:
    match fields["result"]:
        case "succeeded":
            pairs = zip(fields["children"], parts[::2], parts[1::2], strict=True)
            children = tuple(make_child(topic, key, value or b"") for topic, key, value in pairs)
            return Succeeded(children) if children else None
        case "discarded":
            return DISCARDED
        case "released":
            return INTERRUPTED if fields["begun"] else RELEASED
        case "rejected":
            return Rejected(Failure(*fields["failure"]), Reason(fields["reason"]))
        case "failed":
            return Failed(
                Failure(*fields["failure"]),
                fields["retry_after"],
                Reason(fields["reason"]),
                Reason(fields["final"]),
            )
        case unknown:
            raise ValueError(f"{unknown!r} is no result")


def _told(failure: Failure) -> list[str]:
    return [failure.type, failure.message, failure.trace]
