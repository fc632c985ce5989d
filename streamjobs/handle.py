"""What a decorated function becomes: callable as before, and enqueueable with its own signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

from streamjobs.client import BY_ARGUMENTS, ByArguments, Call, Client, JobRef, KeyChoice
from streamjobs.codec import Encoder
from streamjobs.context import Context
from streamjobs.errors import InvalidArguments
from streamjobs.job import JobDefinition
from streamjobs.keys import Key, key_text
from streamjobs.registry import Queue
from streamjobs.topics import default_priority, no_such_priority
from streamjobs.wording import counted

P = ParamSpec("P")
R = TypeVar("R")


class Enqueuer(Generic[P]):
    """What can be enqueued: a job, or a job with options."""

    def __init__(
        self,
        client: Callable[[], Client],
        definition: JobDefinition,
        encoder: Encoder,
        queue: Queue,
        *,
        id: str | None = None,  # noqa: A002 - the envelope's word
        key: KeyChoice = BY_ARGUMENTS,
        priority: str | None = None,
    ) -> None:
        self._client, self.definition, self.encoder = client, definition, encoder
        self._queue, self._id, self._key = queue, id, key
        self._priority = default_priority(queue.priorities) if priority is None else priority
        self._names = tuple(p.name for p in definition.parameters)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Check arguments and bind them to the job, without sending anything.

        Raises:
            InvalidArguments: naming every argument that is missing, unknown or wrong.
        """
        given = self._by_name(args, kwargs) if args else kwargs
        return self._call(self.encoder.check(given))

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobRef:
        """Enqueue a job and return when the log has it.

        Raises:
            InvalidArguments: naming every argument that is missing, unknown or wrong.
            EnqueueError: the log did not acknowledge it: it may or may not be there.
            TopicsError: the queue's topic does not exist.
            AuthenticationError: the broker refuses us.
        """
        return self._client().enqueue(self.call(*args, **kwargs))

    async def enqueue_async(self, /, *args: P.args, **kwargs: P.kwargs) -> JobRef:
        """Enqueue a job without blocking the event loop; errors as ``enqueue``."""
        return await self._client().enqueue_async(self.call(*args, **kwargs))

    def options(
        self,
        *,
        key: Key | ByArguments = BY_ARGUMENTS,
        id: str | UUID | None = None,  # noqa: A002 - the envelope's word
        priority: str | None = None,
    ) -> Enqueuer[P]:
        """Return the same job with options for one call.

        Args:
            key: the ordering key in place of the job's own; None: no order.
            id: the job's id, a UUID: for callers who may have to enqueue the same job again.
            priority: one that the job's queue was declared with. Without this option it is
                ``normal`` where the queue has it, else the middle one.

        Raises:
            InvalidArguments: the id is no UUID, the key no key, or the queue lacks the priority.
        """
        name = self.definition.name
        try:
            chosen = self._key if key is BY_ARGUMENTS else key_text(key)
        except TypeError as error:
            raise InvalidArguments(name, (f"key: {error}",)) from error
        try:
            text = self._id if id is None else str(UUID(str(id)))
        except ValueError as error:
            raise InvalidArguments(name, (f"id: {id!r} is no UUID",)) from error
        there = self._queue.priorities
        if priority is not None and priority not in there:
            raise InvalidArguments(name, (no_such_priority(self._queue.name, priority, there),))
        return Enqueuer(
            self._client,
            self.definition,
            self.encoder,
            self._queue,
            id=text,
            key=chosen,
            priority=self._priority if priority is None else priority,
        )

    def template(self) -> Call:
        """Return a call without arguments, for rows to be filled in."""
        return self._call({})

    def _call(self, args: dict[str, Any]) -> Call:
        return Call(self.definition, self.encoder, args, self._id, self._key, self._priority)

    @functools.cached_property
    def _by_name_only(self) -> frozenset[str]:
        parameters = inspect.signature(self.definition.function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def _by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give positional arguments their names, as a call of the function would."""
        names, job = self._names, self.definition.name
        if len(args) > len(names):
            problem = (
                f"takes {counted(len(names), 'argument')} ({', '.join(names)}), got {len(args)}"
            )
            raise InvalidArguments(job, (problem,))
        by_name_only = self._by_name_only
        problems = tuple(
            f"{name}: given by position, and the function takes it by name only"
            if name in by_name_only
            else f"{name}: given twice, by position and by name"
            for name in names[: len(args)]
            if name in kwargs or name in by_name_only
        )
        if problems:
            raise InvalidArguments(job, problems)
        return {**dict(zip(names, args, strict=False)), **kwargs}


class Job(Enqueuer[P], Generic[P, R]):
    """A registered function: calling it calls the function, ``enqueue`` enqueues it.

    Attributes:
        definition: as registered.
        encoder: checks and encodes its calls; ``encoder.schema`` is its Avro schema.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        definition: JobDefinition,
        encoder: Encoder,
        queue: Queue,
    ) -> None:
        super().__init__(client, definition, encoder, queue)
        functools.update_wrapper(self, definition.function)

    def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        """Call the plain function, here and now."""
        result: R = self.definition.function(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<job {self.definition.name!r} of queue {self.definition.queue!r}>"


class PlainJob(Job[P, R]):
    """A job whose function takes no context."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, here and now."""
        return super().__call__(*args, **kwargs)


class ContextJob(Job[P, R]):
    """A job whose function takes a context first."""

    def __call__(self, context: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, here and now."""
        return super().__call__(context, *args, **kwargs)
