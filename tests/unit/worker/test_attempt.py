from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from streamjobs.context import Context, current_context
from streamjobs.engine.records import Log, Record
from streamjobs.engine.results import (
    DISCARDED,
    INTERRUPTED,
    RELEASED,
    Failed,
    Rejected,
    Result,
    Succeeded,
)
from streamjobs.errors import (
    DeadLetter,
    Discard,
    EnqueueError,
    InvalidArguments,
    InvalidRecord,
    RetryAfter,
    SchemaUnavailable,
    UnknownJob,
)
from streamjobs.headers import Delivery, Origin, Reason
from streamjobs.job import Envelope, JobDefinition
from streamjobs.worker.attempt import Attempt


class FakeDecoder:
    """Decodes every value to one job, or raises what it is given, one after the other."""

    def __init__(self, function: Callable[..., Any], *raises: BaseException) -> None:
        takes = "ctx" in getattr(function, "__annotations__", {})
        self.definition = JobDefinition("send", "mail", function, (), takes_context=takes)
        self.raises = list(raises)

    def decode(self, value: bytes | None) -> tuple[JobDefinition, Envelope]:
        if self.raises:
            raise self.raises.pop(0)
        return self.definition, Envelope("id-1", "send", 1_000_000, None, {"x": 1})


def out(call: Any) -> Any:
    if call == {"n": "wrong"}:
        raise InvalidArguments("send", ("n: 'wrong' is no int",))
    return ("out", call)


def attempt(function: Callable[..., Any], *raises: BaseException, **more: Any) -> Record:
    stopping = threading.Event()
    if more.pop("stopping", False):
        stopping.set()
    message: Any = SimpleNamespace(value=lambda: b"bytes", key=lambda: b"key")
    record = Record(Log("t", 0, None, 0), 7, b"key", message, more.pop("delivery", None))
    decoder: Any = FakeDecoder(function, *raises)
    may_begin = more.pop("may_begin", lambda _: True)
    Attempt(decoder, out, stopping, may_begin)(record)
    return record


def raising(error: BaseException) -> Callable[..., None]:
    def handler(x: int) -> None:
        raise error

    return handler


def test_a_handler_that_returns_has_succeeded() -> None:
    record = attempt(lambda x: None)

    assert (record.result, record.job) == (None, "send")


def test_what_is_no_longer_ours_once_it_is_decoded_does_not_begin() -> None:
    ran: list[int] = []

    record = attempt(ran.append, may_begin=lambda _: False)

    assert (record.result, ran) == (RELEASED, [])


def test_the_context_tells_the_attempt() -> None:
    seen: list[Context] = []

    def handler(ctx: Context, x: int) -> None:
        assert current_context() is ctx
        seen.append(ctx)

    delivery = Delivery(attempts=2, rung=2, origin=Origin("T", 0, 7))
    record = attempt(handler, delivery=delivery)

    assert record.result is None
    (context,) = seen
    assert (context.job_id, context.job, context.key, context.attempt) == ("id-1", "send", "key", 3)
    assert context.enqueued_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_code_below_a_handler_finds_its_context_and_nobody_else_does() -> None:
    ids: list[str] = []

    attempt(lambda x: ids.append(current_context().job_id))

    assert ids == ["id-1"]
    with pytest.raises(LookupError, match="no job runs"):
        current_context()


def test_children_are_part_of_the_success() -> None:
    def handler(ctx: Context, x: int) -> None:
        job: Any = SimpleNamespace(call=lambda **args: args)
        ctx.enqueue(job, n=1)
        ctx.enqueue(job, n=2)

    assert attempt(handler).result == Succeeded((("out", {"n": 1}), ("out", {"n": 2})))


@pytest.mark.parametrize("fails", [False, True])
def test_a_child_that_comes_after_the_end_is_refused(fails: bool) -> None:
    seen: list[Context] = []
    job: Any = SimpleNamespace(call=lambda **args: args)

    def handler(ctx: Context, x: int) -> None:
        seen.append(ctx)
        if fails:
            raise ValueError("no")

    attempt(handler)

    with pytest.raises(EnqueueError, match=r"'send' \(id-1\) is over"):
        seen[0].enqueue(job, n=1)


def test_what_is_no_job_is_no_child() -> None:
    def handler(ctx: Context, x: int) -> None:
        ctx.enqueue(len, 3)  # type: ignore[arg-type] # what a user without mypy may write

    result = attempt(handler).result

    assert isinstance(result, Failed)
    assert "ctx.enqueue takes a job and its arguments, not builtin" in result.failure.message


def test_what_is_wrong_with_a_child_is_told_where_it_is_enqueued() -> None:
    caught: list[str] = []

    def handler(ctx: Context, x: int) -> None:
        job: Any = SimpleNamespace(call=lambda **args: args)
        try:
            ctx.enqueue(job, n="wrong")
        except InvalidArguments as error:
            caught.append(str(error))

    assert (attempt(handler).result, caught) == (None, ["job 'send': n: 'wrong' is no int"])


def test_a_failed_attempt_has_no_children() -> None:
    def handler(ctx: Context, x: int) -> None:
        job: Any = SimpleNamespace(call=lambda **args: args)
        ctx.enqueue(job, n=1)
        raise ValueError

    assert isinstance(attempt(handler).result, Failed)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), BaseException("b")],
    ids=repr,
)
def test_whatever_a_handler_raises_is_a_failed_attempt(error: BaseException) -> None:
    result = attempt(raising(error)).result

    assert isinstance(result, Failed)
    assert result.failure.type == type(error).__name__
    assert (result.reason, result.final) == (Reason.FAILED, Reason.EXHAUSTED)
    assert "streamjobs" not in result.failure.trace.split("raising")[0]


def test_the_three_decisions() -> None:
    assert attempt(raising(Discard("none"))).result is DISCARDED

    dead = attempt(raising(DeadLetter("why"))).result
    assert isinstance(dead, Rejected)
    assert (dead.reason, dead.failure.message) == (Reason.REJECTED, "why")

    later = attempt(raising(RetryAfter("5m"))).result
    assert isinstance(later, Failed)
    assert later.retry_after == 300.0


def test_a_retry_after_nonsense_is_a_plain_failure_that_says_so() -> None:
    result = attempt(raising(RetryAfter("soon"))).result

    assert isinstance(result, Failed)
    assert result.retry_after is None
    assert "'soon' is no duration" in result.failure.message


def test_a_handler_that_raises_our_own_record_error_has_failed_like_any_other() -> None:
    result = attempt(raising(InvalidRecord("mine"))).result

    assert isinstance(result, Failed)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRecord("cut short"), (Rejected, Reason.INVALID)),
        (UnknownJob("no such"), (Failed, Reason.UNKNOWN_JOB)),
        (RecursionError("deep"), (Failed, Reason.FAILED)),
        (SystemExit(1), (Failed, Reason.FAILED)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_decode_never_reaches_a_handler(
    error: BaseException, expected: tuple[type[Result], Reason]
) -> None:
    called: list[int] = []

    result = attempt(lambda x: called.append(x), error).result

    assert isinstance(result, expected[0])
    assert isinstance(result, Failed | Rejected)
    assert result.reason is expected[1]
    assert called == []


def test_while_schemas_cannot_be_had_the_job_waits_and_then_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamjobs.worker.attempt.SCHEMA_PATIENCE", 0.001)
    called: list[int] = []

    record = attempt(lambda x: called.append(x), SchemaUnavailable("a"), SchemaUnavailable("b"))

    assert (record.result, called) == (None, [1])


def test_schemas_that_cannot_be_had_for_hours_cost_neither_the_job_nor_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamjobs.worker.attempt.SCHEMA_PATIENCE", 0.0)
    called: list[int] = []

    record = attempt(lambda x: called.append(x), *[SchemaUnavailable("a") for _ in range(5_000)])

    assert (record.result, called) == (None, [1])


def test_a_worker_that_stops_gives_a_job_back_that_waits_for_its_schema() -> None:
    record = attempt(lambda x: None, SchemaUnavailable("a"), stopping=True)

    assert record.result is INTERRUPTED


def test_a_handler_sees_that_its_partition_is_somebody_elses() -> None:
    seen = []

    def handler(ctx: Context, x: int) -> None:
        seen.append(ctx.cancelled)
        log.live = False
        seen.append(ctx.cancelled)

    message: Any = SimpleNamespace(value=lambda: b"bytes", key=lambda: b"key")
    log = Log("t", 0, None, 0)
    decoder: Any = FakeDecoder(handler)
    Attempt(decoder, out, threading.Event())(Record(log, 7, b"key", message, None))

    assert seen == [False, True]
