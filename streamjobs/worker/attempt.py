"""One attempt at one job, as a pipeline: decode, look up, call, classify.

Whatever happens in it becomes a result. Nothing escapes, ``BaseException`` included: a job must
never take its thread with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from streamjobs.clock import parse_duration
from streamjobs.codec import Decoder
from streamjobs.context import Context, set_current
from streamjobs.engine.records import Record
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
    DefinitionError,
    Discard,
    InvalidRecord,
    RetryAfter,
    SchemaUnavailable,
    UnknownJob,
)
from streamjobs.executors.threads import MayBegin
from streamjobs.headers import Reason
from streamjobs.job import Envelope, JobDefinition
from streamjobs.worker.describe import describe

# Seconds between questions for a schema while its store does not answer.
SCHEMA_PATIENCE = 1.0


class Attempt:
    """Runs records' attempts, one at a time: each executor thread has one of its own.

    Args:
        decoder: bytes to calls; shared.
        outgoing: turns a child call into what the commit cycle produces.
        stopping: set when the worker drains: no attempt waits for a schema any longer.
        may_begin: asked between decoding, which may have taken seconds, and the handler: by then
            the record may be somebody else's.
    """

    def __init__(
        self,
        decoder: Decoder,
        outgoing: Callable[[Any], Any],
        stopping: threading.Event,
        may_begin: MayBegin = lambda _: True,
    ) -> None:
        self._decode, self._outgoing, self._stopping = decoder.decode, outgoing, stopping
        self._may_begin = may_begin
        self._record: Record | None = None
        self._envelope: Envelope | None = None
        self._context: Context | None = None
        set_current(self._current)

    def __call__(self, record: Record) -> None:
        """Run the attempt and leave its result and the job's name in the record."""
        decoded = self._decoded(record)
        if decoded is None:
            return
        definition, envelope = decoded
        record.job = definition.name
        if not self._may_begin(record):
            record.result = RELEASED
            return
        self._record, self._envelope, self._context = record, envelope, None
        try:
            if definition.takes_context:
                definition.function(self._current(), **envelope.args)
            else:
                definition.function(**envelope.args)
            record.result = self._children()
        except BaseException as error:  # noqa: BLE001 - it would take the thread with it
            record.result = classify(error)
        finally:
            self._end()

    def _current(self) -> Context:
        """The running job's context, made when somebody asks for it."""
        if self._record is None or self._envelope is None:
            raise LookupError("current_context() outside of a job: no job runs in this thread")
        if self._context is None:
            record, envelope = self._record, self._envelope
            # The job's own key: the record's is its lane's, which is another where order is not
            # kept by key.
            key = record.message.key()
            self._context = Context(
                job_id=envelope.id,
                job=envelope.job,
                key=None if key is None else key.decode("utf-8", "replace"),
                attempt=record.attempts + 1,
                enqueued_at=envelope.enqueued_at,
                outgoing=self._outgoing,
                abandoned=lambda: not record.log.live,
            )
        return self._context

    def _end(self) -> None:
        """Nobody finds this attempt's context any more, nor adds to it."""
        self._envelope = None
        if self._context is not None:
            self._context.end()

    def _children(self) -> Result | None:
        """Success, with the child jobs if the handler made any."""
        if self._context is None:
            return None
        self._context.end()
        if not self._context.children:
            return None
        return Succeeded(tuple(self._context.children))

    def _decoded(self, record: Record) -> tuple[JobDefinition, Envelope] | None:
        """Return the call that the record holds; None leaves a result in it."""
        while True:
            try:
                return self._decode(record.message.value())
            except SchemaUnavailable:
                # The record may be perfectly good: ask again until its schema can be had.
                if self._stopping.wait(SCHEMA_PATIENCE) or not self._may_begin(record):
                    record.result = INTERRUPTED
                    return None
            except BaseException as error:  # noqa: BLE001 - whatever the bytes do, it is a result
                record.result = not_decoded(error)
                return None


def not_decoded(error: BaseException) -> Result:
    """Say what a record that cannot become a call comes to."""
    match error:
        case UnknownJob():
            unknown = Reason.UNKNOWN_JOB
            return Failed(describe(error, skip=99), reason=unknown, final=unknown)
        case InvalidRecord():
            return Rejected(describe(error, skip=99), Reason.INVALID)
        case _:
            return Failed(describe(error))


def classify(error: BaseException) -> Result:
    """Say what a handler's exception means for its job."""
    match error:
        case Discard():
            return DISCARDED
        case DeadLetter():
            return Rejected(describe(error, skip=1), Reason.REJECTED)
        case RetryAfter():
            try:
                delay = parse_duration(error.delay)
            except DefinitionError as bad:
                return Failed(describe(bad))
            return Failed(describe(error, skip=1), retry_after=delay)
        case _:
            return Failed(describe(error, skip=1))
