"""Calls into the log: one at a time, awaited, or by the million."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from streamjobs.clock import monotonic, wall
from streamjobs.codec import Encoder, SchemaStore, new_id
from streamjobs.errors import (
    EnqueueError,
    InvalidArguments,
    JobTooLarge,
    StreamjobsError,
    TopicsError,
)
from streamjobs.job import JobDefinition
from streamjobs.kafka.config import record_limit
from streamjobs.kafka.failures import list_topics
from streamjobs.kafka.producer import CLOSE_TIMEOUT, BulkSender, Producers, Tally, enqueue_error
from streamjobs.settings import Settings
from streamjobs.topics import main_topic
from streamjobs.wording import counted

# A batch of one record: 61 bytes of the batch's head, up to 31 of the record's lengths and times.
RECORD_OVERHEAD = 96


class ByArguments(Enum):
    """Says that a call's key is what its job makes of the arguments."""

    BY_ARGUMENTS = 0


BY_ARGUMENTS: Final = ByArguments.BY_ARGUMENTS
Row = Mapping[str, Any]
OnReject = Callable[[int, Row, InvalidArguments], object]
RowKey = Callable[[Row], str | None]
KeyChoice = str | None | ByArguments


@dataclass(slots=True, eq=False)
class Call:
    """A call whose arguments are checked, not yet sent.

    Attributes:
        definition: the job.
        encoder: of that job.
        args: as the encoder checked them.
        id: of the job to be, or None: a new one each time it is sent.
        key: an ordering key in place of the job's own rule; None: no order.
        priority: one that the job's queue has; None: it has none.
    """

    definition: JobDefinition
    encoder: Encoder
    args: dict[str, Any]
    id: str | None = None
    key: KeyChoice = BY_ARGUMENTS
    priority: str | None = None


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job that is in the log: its id, and where it lies."""

    id: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True, eq=False)
class Outgoing:
    """A record to be produced."""

    topic: str
    key: bytes | None
    value: bytes
    id: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of many calls.

    Attributes:
        sent: how many are in the log.
        seconds: how long it took, until the last was acknowledged.
        rejected: how many rows were handed to ``on_reject``.
    """

    sent: int
    seconds: float
    rejected: int = 0

    @property
    def per_second(self) -> float:
        """Jobs per second."""
        return self.sent / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Route:
    """Where a job's records go, and what stands before them."""

    topic: str
    prefix: bytes


class Client:
    """Sends the calls of one app; safe from every thread, not in a child process after a fork.

    What is under way when the interpreter exits, or the client is collected, is waited for.

    Args:
        settings: of the process.
        prefix: the namespace, else the app's name.
        store: where writer schemas are kept.
    """

    def __init__(self, settings: Settings, prefix: str, store: SchemaStore) -> None:
        self._settings, self._prefix, self._store = settings, prefix, store
        self._limit = record_limit(settings)
        self._routes: dict[tuple[Encoder, str | None], _Route] = {}
        self._topics: frozenset[str] = frozenset()
        self._producers = Producers(settings)
        self._end = weakref.finalize(self, self._producers.close)

    def outgoing(self, call: Call) -> Outgoing:
        """Return the record of a call. A job's first of a priority asks the broker and the store.

        Raises:
            InvalidArguments: its key cannot be made, or a value cannot be encoded.
            JobTooLarge: it is larger than its topic takes.
            EnqueueError: broker or store do not answer.
            TopicsError: its topic, or the schemas', does not exist.
            AuthenticationError: the broker refuses us.
            SchemaConflict: the job's schema clashes with the one that is kept.
        """
        route = self._routes.get((call.encoder, call.priority)) or self._route(call)
        definition, args, key = call.definition, call.args, call.key
        job_id = call.id or new_id()
        try:
            if key is BY_ARGUMENTS:
                key = None if definition.key is None else definition.key(args)
            packed = None if key is None else _packed(definition.name, key)
            value = call.encoder.encode(
                route.prefix, args, id=job_id, enqueued_at=int(wall() * 1e6)
            )
        except InvalidArguments:
            raise
        except ValueError as error:
            raise InvalidArguments(definition.name, (str(error),)) from error
        size = len(value) + (0 if packed is None else len(packed)) + RECORD_OVERHEAD
        if size > self._limit:
            raise JobTooLarge(
                definition.name,
                f"{counted(size, 'byte')} as a record, and {route.topic} takes at most "
                f"{self._limit:,}: keep large data elsewhere and pass its address",
            )
        return Outgoing(route.topic, packed, value, job_id)

    def _route(self, call: Call) -> _Route:
        topic = main_topic(self._prefix, call.definition.queue, call.priority)
        try:
            if topic not in self._topics:
                self._topics = list_topics(self._settings)
            if topic not in self._topics:
                raise TopicsError(
                    f"topic {topic} does not exist: 'streamjobs -A module:app topics apply' makes "
                    "what the app needs"
                )
            prefix = self._store.prefix(topic, call.encoder.name, call.encoder.schema)
        except StreamjobsError as error:
            raise enqueue_error(error) from error
        route = self._routes[call.encoder, call.priority] = _Route(topic, prefix)
        return route

    def _prepare(self, call: Call) -> None:
        """Do all that a job's first call does beside sending: it takes a tenth of a second."""
        self._route(call)
        self._producers.sender()

    def enqueue(self, call: Call) -> JobRef:
        """Send a call and return when the log has it.

        Raises:
            EnqueueError: the log did not acknowledge it within ``delivery.timeout.ms``: it may
                or may not be there.
            InvalidArguments, TopicsError, AuthenticationError, SchemaConflict: as ``outgoing``.
        """
        record = self.outgoing(call)
        done: Future[JobRef] = Future()

        def report(error: StreamjobsError | None, partition: int, offset: int) -> None:
            if error is None:
                done.set_result(JobRef(record.id, record.topic, partition, offset))
            else:
                done.set_exception(_unacknowledged(error, record.id))

        sender = self._producers.sender()
        pause = threading.Event()
        while not sender.send(record.topic, record.key, record.value, report):
            pause.wait(0.01)
        return done.result()

    async def enqueue_async(self, call: Call) -> JobRef:
        """Send a call; the event loop runs on until the log has it.

        Raises:
            EnqueueError, InvalidArguments, TopicsError, AuthenticationError, SchemaConflict: as
                ``enqueue``.
        """
        loop = asyncio.get_running_loop()
        if (call.encoder, call.priority) not in self._routes:
            await loop.run_in_executor(None, self._prepare, call)
        record = self.outgoing(call)
        done: asyncio.Future[JobRef] = loop.create_future()

        def settle(error: StreamjobsError | None, partition: int, offset: int) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(JobRef(record.id, record.topic, partition, offset))
            else:
                done.set_exception(_unacknowledged(error, record.id))

        def report(error: StreamjobsError | None, partition: int, offset: int) -> None:
            # A loop that was closed has nobody left who waits.
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, error, partition, offset)

        sender = self._producers.sender()
        # librdkafka tells nobody when its queue has room again.
        while not sender.send(record.topic, record.key, record.value, report):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return await done

    def enqueue_many(self, calls: Iterable[Call]) -> Summary:
        """Send many calls, pipelined, and return when the log has them all.

        Memory is bounded by the client's queue (``queue.buffering.max.messages``): an iterable
        that makes calls faster than the broker takes them is held back.

        Raises:
            InvalidArguments: with the item's ``index``; earlier ones are in the log: ``sent``.
            EnqueueError: some are not acknowledged; the message counts.
            TypeError: an item is no call.
            TopicsError, AuthenticationError, SchemaConflict: as ``outgoing``.
        """
        return self._pump(map(self._record, calls), [])

    def _record(self, call: Call) -> Outgoing:
        if not isinstance(call, Call):
            raise TypeError(
                f"enqueue_many takes calls, not {type(call).__name__}: write job.call(...)"
            )
        return self.outgoing(call)

    def enqueue_rows(
        self,
        template: Call,
        rows: Iterable[Row],
        on_reject: OnReject | None = None,
        key: RowKey | None = None,
    ) -> Summary:
        """Send a call for each row from the outside, as ``enqueue_many`` does.

        Args:
            template: the job; its arguments are not looked at.
            rows: arguments by name, as text or JSON gives them.
            on_reject: called for each row that does not fit, with its index and what is wrong; the
                others go on. Without it the first such row ends the run.
            key: gives each row's ordering key in place of the job's own rule.

        Raises:
            As ``enqueue_many``.
        """
        rejected: list[int] = []
        return self._pump(self._rows(template, rows, on_reject, rejected, key), rejected)

    def _rows(
        self,
        call: Call,
        rows: Iterable[Row],
        on_reject: OnReject | None,
        rejected: list[int],
        key: RowKey | None,
    ) -> Iterator[Outgoing]:
        definition, encoder, priority = call.definition, call.encoder, call.priority
        name, check = definition.name, encoder.check
        for index, row in enumerate(rows):
            try:
                _require_mapping(name, row)
                args = check(row, lax=True)
                chosen = call.key if key is None else key(row)
                row_call = Call(definition, encoder, args, call.id, chosen, priority)
                record = self.outgoing(row_call)
            except (InvalidArguments, JobTooLarge) as error:
                if on_reject is None:
                    raise
                rejected.append(index)
                if isinstance(error, JobTooLarge):
                    error = InvalidArguments(name, (error.problem,))
                on_reject(index, row, error)
            else:
                yield record

    def _pump(self, records: Iterator[Outgoing], rejected: list[int]) -> Summary:
        """Send records as they come; wait for all, whatever ends them."""
        bulk, tally = self._producers.bulk(), Tally()
        began, send = monotonic(), bulk.send
        try:
            for record in records:
                send(tally, record.topic, record.key, record.value)
                if tally.failed:
                    break
        except InvalidArguments as error:
            self._wait(bulk, tally)
            index = tally.queued + len(rejected)
            raise InvalidArguments(
                error.job, error.problems, index=index, sent=tally.delivered
            ) from error
        except BaseException as error:  # of Ctrl-C, too, one wants to know how far it came
            self._wait(bulk, tally)
            index = tally.queued + len(rejected)
            error.add_note(f"at item {index:,}; sent before it: {tally.delivered:,}")
            raise
        self._wait(bulk, tally)
        return Summary(tally.delivered, monotonic() - began, len(rejected))

    @staticmethod
    def _wait(bulk: BulkSender, tally: Tally) -> None:
        error = bulk.wait(tally)
        if error is None:
            return
        message = (
            f"{tally.failed:,} of {counted(tally.queued, 'job')} not acknowledged, "
            f"{tally.delivered:,} in the log: {error}"
        )
        retriable = not isinstance(error, EnqueueError) or error.retriable
        raise EnqueueError(message, retriable=retriable) from error

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Wait for what is under way and close; to close twice is fine.

        Args:
            timeout: seconds; the default is more than a delivery can take.

        Raises:
            EnqueueError: records were not acknowledged in time.
        """
        self._end.detach()
        left = self._producers.close(timeout)
        if left:
            raise EnqueueError(
                f"closing: {counted(left, 'job was', 'jobs were')} not acknowledged "
                f"within {timeout:g} s",
                retriable=True,
            )


def _packed(job: str, key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        problem = f"key: {key!r} is not text that UTF-8 can hold"
        raise InvalidArguments(job, (problem,)) from error


def _require_mapping(job: str, row: object) -> None:
    if not isinstance(row, Mapping):
        problem = f"a row is {type(row).__name__}, not a mapping of names to values"
        raise InvalidArguments(job, (problem,))


def _unacknowledged(error: StreamjobsError, job_id: str) -> StreamjobsError:
    """Say of which job it is not known whether it is in the log."""
    if not isinstance(error, EnqueueError) or not error.retriable:
        return error
    message = (
        f"job {job_id}: {error}. It may be in the log all the same: enqueue it again with "
        f".options(id={job_id!r}), so that its handler can tell the two by ctx.job_id"
    )
    return EnqueueError(message, retriable=True, job_id=job_id)
