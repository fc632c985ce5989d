"""What a handler is told about its job, and what it can do beside its own work."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol

from streamjobs.errors import EnqueueError

P = ParamSpec("P")

_logger = logging.getLogger("streamjobs.job")


class Enqueueable(Protocol[P]):
    """A registered job, as far as a context needs to know it."""

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Check the arguments against the signature and bind them to the job."""


class Context:
    """One attempt at one job; the first parameter of a handler that asks for it.

    Attributes:
        job_id: the job's id: the idempotency key for side effects, the same in every attempt.
        job: the job's name.
        key: its ordering key, or None.
        attempt: which try this is, from 1.
        enqueued_at: when it was enqueued, UTC.
        children: what ``outgoing`` has made of the calls given to ``enqueue``.

    Args:
        outgoing: encodes a child's call, in whichever thread enqueues it.
        abandoned: asked whether what the attempt comes to still counts.
    """

    __slots__ = (
        "_abandoned", "_ended", "_log", "_outgoing", "attempt", "children", "enqueued_at", "job",
        "job_id", "key",
    )  # fmt: skip

    def __init__(
        self,
        *,
        job_id: str,
        job: str,
        key: str | None,
        attempt: int,
        enqueued_at: int,
        outgoing: Callable[[Any], Any],
        abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        self.job_id, self.job, self.key, self.attempt = job_id, job, key, attempt
        self.enqueued_at = datetime.fromtimestamp(enqueued_at / 1e6, UTC)
        self.children: list[Any] = []
        self._outgoing, self._abandoned = outgoing, abandoned
        self._ended = False
        self._log: logging.LoggerAdapter[logging.Logger] | None = None

    def enqueue(self, job: Enqueueable[P], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue a child job in the same transaction as this job's success.

        It comes into being exactly when this attempt succeeds: an attempt that fails, is
        discarded or dies enqueues nothing.

        Raises:
            InvalidArguments: the arguments do not fit the child's signature, or cannot be encoded.
            TypeError: it is no job.
            EnqueueError: the attempt is over, so there is no success any more to be part of; or as
                ``job.enqueue``, as TopicsError, AuthenticationError and SchemaConflict.
        """
        if not hasattr(job, "call"):
            raise TypeError(
                f"ctx.enqueue takes a job and its arguments, not {type(job).__name__}: write "
                "ctx.enqueue(send_mail, customer_id=7)"
            )
        # Encoded here: what is wrong with it is told where it is written, and the first child of a
        # job type, whose schema has to be looked up, takes its time before this attempt has ended.
        self.children.append(self._outgoing(job.call(*args, **kwargs)))
        # Asked afterwards: what comes while the attempt ends is then enqueued or told, never lost.
        if self._ended:
            raise EnqueueError(
                f"the attempt at job {self.job!r} ({self.job_id}) is over, and its child jobs were "
                "part of its success: let the handler wait for its threads, or enqueue with "
                "job.enqueue(...)",
                retriable=False,
            )

    @property
    def cancelled(self) -> bool:
        """Whether nothing that this attempt does counts any more: stop as soon as you can.

        Its partition is another worker's, or the worker has ended and its drain budget is used up:
        the job runs again elsewhere, or does already. From any thread, at the cost of a call.
        """
        return self._abandoned()

    def end(self) -> None:
        """Take no more children; for what runs the attempt, before it looks at them."""
        self._ended = True

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry ``job_id``, ``job``, ``key`` and ``attempt``."""
        if self._log is None:
            self._log = _JobLog(
                _logger, {n: getattr(self, n) for n in ("job_id", "job", "key", "attempt")}
            )
        return self._log


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{self.extra['job']}[{self.extra['job_id']}] {msg}", {**kwargs, "extra": self.extra}  # type: ignore[index]


_current: ContextVar[Callable[[], Context]] = ContextVar("streamjobs_context")


def set_current(make: Callable[[], Context]) -> None:
    """Say how this thread's or task's running job finds its context; for those that run jobs."""
    _current.set(make)


def current_context() -> Context:
    """Return the context of the job that runs here, for code below a handler.

    Raises:
        LookupError: when no job runs in this thread or task.
    """
    try:
        make = _current.get()
    except LookupError:
        raise LookupError(
            "current_context() outside of a job: no job runs in this thread"
        ) from None
    return make()
