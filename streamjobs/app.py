"""The facade: an app declares queues and jobs, and enqueues them."""

from __future__ import annotations

import ctypes
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from streamjobs.breaker import DEFAULT_BREAKER, Breaker
from streamjobs.client import (
    Call,
    Client,
    OnReject,
    Row,
    RowKey,
    Summary,
)
from streamjobs.codec import Encoder, SchemaStore
from streamjobs.context import Context
from streamjobs.errors import DefinitionError, EnqueueError
from streamjobs.handle import ContextJob, Enqueuer, Job, PlainJob
from streamjobs.job import JobDefinition, read_parameters
from streamjobs.kafka.config import refused_properties
from streamjobs.kafka.producer import CLOSE_TIMEOUT
from streamjobs.kafka.stores import open_store
from streamjobs.keys import key_rule
from streamjobs.registry import DEFAULT_PARTITIONS, DEFAULT_QUEUE, Ordering, Queue, Registry
from streamjobs.retry import Retry
from streamjobs.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


class JobDecorator:
    """What ``@app.job(...)`` returns: takes the function."""

    def __init__(
        self, app: App, *, name: str | None, queue: str, key: str | Callable[..., Any] | None
    ) -> None:
        self._app, self._name, self._queue, self._key = app, name, queue, key

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> ContextJob[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> PlainJob[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Job[..., Any]:
        """Register the function as a job.

        Raises:
            DefinitionError: saying what about it cannot be.
        """
        return self._app._add(function, self._name, self._queue, self._key)  # noqa: SLF001 - its own app


class App:
    """Queues and jobs under one name, and the way to enqueue them.

    Making an app asks nobody: settings are read at the first use that needs them, the
    client is made at the first enqueue, and anew in a child process after a fork.

    Args:
        name: ``[a-z][a-z0-9-]*``; the prefix of its topics and groups unless there is a namespace.
        bootstrap_servers: see ``Settings``, as all that follow; the environment wins.
        namespace: see ``Settings``.
        group_protocol: see ``Settings``.
        group_instance_id: see ``Settings``.
        delivery: see ``Settings``.
        schema_registry_url: see ``Settings``.
        kafka: librdkafka properties as Kafka spells them.

    Attributes:
        registry: what was declared.
        jobs: the jobs by name.

    Raises:
        DefinitionError: the name cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        bootstrap_servers: str | None = None,
        namespace: str | None = None,
        group_protocol: str | None = None,
        group_instance_id: str | None = None,
        delivery: str | None = None,
        schema_registry_url: str | None = None,
        kafka: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        self.registry = Registry(name)
        self.jobs: dict[str, Job[..., Any]] = {}
        self._from_code = {
            "bootstrap_servers": bootstrap_servers,
            "namespace": namespace,
            "group_protocol": group_protocol,
            "group_instance_id": group_instance_id,
            "delivery": delivery,
            "schema_registry_url": schema_registry_url,
            "kafka": kafka,
        }
        self._settings: Settings | None = None
        self._store: SchemaStore | None = None
        self._client: Client | None = None
        self._closed = False
        self._lock = threading.RLock()
        _apps.add(self)

    @property
    def name(self) -> str:
        """The app's name."""
        return self.registry.app

    @property
    def settings(self) -> Settings:
        """The settings, read once.

        Raises:
            SettingsError: with every problem there is.
        """
        if self._settings is None:
            self._settings = load_settings(None, refused_properties, **self._from_code)
        return self._settings

    @property
    def prefix(self) -> str:
        """What topics and groups begin with: the namespace, else the name."""
        return self.settings.namespace or self.name

    @property
    def store(self) -> SchemaStore:
        """Where writer schemas are kept."""
        with self._lock:
            if self._store is None:
                self._store = open_store(self.settings, self.prefix)
            return self._store

    @property
    def client(self) -> Client:
        """What sends calls.

        Raises:
            EnqueueError: the app is closed.
        """
        with self._lock:
            self._require_open()
            if self._client is None:
                self._client = Client(self.settings, self.prefix, self.store)
            return self._client

    def queue(
        self,
        name: str,
        *,
        partitions: int = DEFAULT_PARTITIONS,
        retry: Retry | None = None,
        retention: str | float = "7d",
        priorities: Sequence[str] = (),
        ordering: Ordering = "key",
        breaker: Breaker | None = DEFAULT_BREAKER,
    ) -> Queue:
        """Declare a queue.

        Args:
            name: unique in the app.
            partitions: of each of its topics; at most so many workers share it.
            retry: the ladder for its jobs; ``Retry()`` when None.
            retention: how long jobs stay in the log, and so how far back history reaches.
            priorities: most urgent first, such as ``("high", "normal", "low")``; each has a main
                topic of its own, and order is kept inside each. A call that names none gets
                ``normal`` where there is one, else the middle one (of an even number, the less
                urgent of the two in the middle). Empty: no priorities.
            ordering: what order jobs start in. ``key``: those of one key and priority as they
                were enqueued, retries included. ``none``: a failed job holds nobody up.
                ``partition``: all of one partition and priority in one line, which stands still
                while its head waits to be tried again.
            breaker: when a worker pauses the queue, since nearly everything fails, and tries one
                job now and then until one succeeds; ``Breaker()`` unless told. None: never.

        Raises:
            DefinitionError: a name or priority that is bad, reserved or taken, an impossible
                count, an unknown ordering, or a breaker that is none.
        """
        return self.registry.add_queue(
            name,
            partitions=partitions,
            retry=retry,
            retention=retention,
            priorities=priorities,
            ordering=ordering,
            breaker=breaker,
        )

    @overload
    def job(self, function: Callable[Concatenate[Context, P], R], /) -> ContextJob[P, R]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> PlainJob[P, R]: ...
    @overload
    def job(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        key: str | Callable[..., Any] | None = None,
    ) -> JobDecorator: ...
    def job(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        key: str | Callable[..., Any] | None = None,
    ) -> Job[..., Any] | JobDecorator:
        """Make a function a job: ``@app.job``, or ``@app.job(queue=…, key=…, name=…)``.

        Args:
            function: what runs; its arguments are typed columns on the wire.
            name: as on the wire; the function's own when None.
            queue: one that was declared, or ``default``.
            key: what jobs are ordered by: an argument's name, or a callable that is given the
                arguments it has parameters for; None for no order. See ``keys.key_text``.

        Raises:
            DefinitionError: saying what about it cannot be.
        """
        if function is not None:
            return self._add(function, name, queue, key)
        return JobDecorator(self, name=name, queue=queue, key=key)

    def _add(
        self,
        function: Callable[..., Any],
        name: str | None,
        queue: str,
        key: str | Callable[..., Any] | None,
    ) -> Job[..., Any]:
        _check_function(function)
        job_name = function.__name__ if name is None else name
        takes_context, parameters = read_parameters(function, Context)
        definition = JobDefinition(
            name=job_name,
            queue=queue,
            function=function,
            parameters=parameters,
            takes_context=takes_context,
            key=key_rule(job_name, key, parameters),
        )
        encoder = Encoder(self.name, definition)
        self.registry.add_job(definition)
        kind: type[Job[..., Any]] = ContextJob if takes_context else PlainJob
        declared = self.registry.find_queue(queue)
        job = self.jobs[job_name] = kind(lambda: self.client, definition, encoder, declared)
        return job

    def enqueue_many(self, calls: Iterable[Call]) -> Summary:
        """Enqueue many calls, pipelined, and return when the log has them all.

        Memory stays bounded however many there are. Calls of one key keep their order.

        Raises:
            InvalidArguments: with the item's ``index``; the earlier ones are in the log: ``sent``.
            EnqueueError: some are not acknowledged; the message counts.
            TypeError: an item is no ``job.call(...)``.
        """
        return self.client.enqueue_many(calls)

    def enqueue_rows(
        self,
        job: Enqueuer[...],
        rows: Iterable[Row],
        *,
        on_reject: OnReject | None = None,
        key: RowKey | None = None,
    ) -> Summary:
        """Enqueue a job for each row from the outside, with text made into the job's types.

        Args:
            job: or ``job.options(...)``.
            rows: arguments by name, as CSV or JSON gives them.
            on_reject: called with index, row and ``InvalidArguments`` for each row that does not
                fit; the others go on. Without it the first such row ends the run.
            key: gives each row's ordering key in place of the job's own rule; None: no order.

        Raises:
            As ``enqueue_many``.
        """
        return self.client.enqueue_rows(job.template(), rows, on_reject, key)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Wait for what is under way and close; to close twice is fine.

        Raises:
            EnqueueError: records were not acknowledged in time.
        """
        with self._lock:
            client, self._client, self._closed = self._client, None, True
        if client is not None:
            client.close(timeout)

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise EnqueueError(
                f"app {self.name!r} is closed: nothing can be enqueued after close()",
                retriable=False,
            )

    def _after_fork(self) -> None:
        """Forget the parent's clients without touching them: their threads are not here.

        They are kept for ever: librdkafka would wait for those threads to free them.
        """
        for inherited in (self._client, self._store):
            if inherited is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
        self._client = self._store = None
        self._lock = threading.RLock()


_apps: weakref.WeakSet[App] = weakref.WeakSet()


def _renew_clients() -> None:
    for app in list(_apps):
        app._after_fork()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_renew_clients)


def _check_function(function: object) -> None:
    """Refuse what cannot run as a job.

    Raises:
        DefinitionError: saying what it is instead of a plain function.
    """
    if not isinstance(function, FunctionType):
        raise DefinitionError(
            f"@app.job takes a function, not {type(function).__name__}: write a def that calls it"
        )
    name = function.__name__
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"job {name!r}: async def is not supported yet: jobs run in threads; write def"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(
            f"job {name!r}: a generator does nothing when it is called; write a function without "
            "yield"
        )
