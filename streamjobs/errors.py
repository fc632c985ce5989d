"""Every error streamjobs raises, in one tree; this module imports nothing.

::

    StreamjobsError
    ├── ConfigurationError      settings or definitions are wrong; trying again cannot help
    │   ├── SettingsError       environment or command line: every problem listed at once
    │   ├── DefinitionError     a queue, a job or a hint that cannot be: refused when decorating
    │   ├── TopicsError         topics missing or made differently: names the mending command
    │   └── SchemaConflict      another schema, of other logical types, has this fingerprint
    ├── InvalidArguments        a call that does not fit the job's signature; nothing was sent
    ├── EnqueueError            the job was not acknowledged; the caller may try again
    │   └── JobTooLarge         larger than the client takes; nothing was sent
    ├── BrokerUnavailable       no broker answers there; trying again can help
    ├── AuthenticationError     the broker refuses who we are; trying again cannot help
    ├── BrokerSetupError        a development broker could not be had or started
    └── RecordError             a record that cannot become a call
        ├── InvalidRecord       not ours, cut short, or bytes left over: never decodes
        ├── UnknownJob          well formed, but no such job here: a newer release may know it
        └── SchemaUnavailable   the schema log or registry does not answer: wait, try again

    Control (raised by handlers to decide what becomes of the job)
    ├── RetryAfter              try again, this much later
    ├── Discard                 nothing more to do, and no dead letter
    └── DeadLetter              give up now, keep it as a dead letter
"""

from __future__ import annotations


class StreamjobsError(Exception):
    """The base of every error of this package."""


class ConfigurationError(StreamjobsError):
    """Settings or definitions are wrong; the same call cannot succeed until they change.

    Attributes:
        problems: one sentence each, every problem that was found.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SettingsError(ConfigurationError):
    """Settings that cannot be: wrong values, unknown names, impossible pairs."""


class DefinitionError(ConfigurationError, TypeError):
    """A queue or job that cannot be defined so; raised while decorating."""


class TopicsError(ConfigurationError):
    """Topics are missing or made differently from what the queue needs."""


class SchemaConflict(ConfigurationError):
    """A schema's fingerprint belongs to another text that means other values by the same bytes."""


class InvalidArguments(StreamjobsError, ValueError):
    """A call does not fit the job's signature; that call was not sent.

    Attributes:
        job: the job's name.
        problems: one sentence for each bad argument, beginning with its name.
        index: the call's place in ``enqueue_many`` (from 0), or None.
        sent: how many earlier calls of the same ``enqueue_many`` are in the log.
    """

    def __init__(
        self, job: str, problems: tuple[str, ...], *, index: int | None = None, sent: int = 0
    ) -> None:
        self.job, self.problems, self.index, self.sent = job, problems, index, sent
        where = "" if index is None else f", item {index} (sent before it: {sent:,})"
        super().__init__(f"job {job!r}{where}: " + "; ".join(problems))


class EnqueueError(StreamjobsError):
    """The job was not acknowledged; where ``job_id`` is set it may be in the log all the same.

    Attributes:
        retriable: whether the same call can succeed later.
        job_id: of the one job that was enqueued, where its record was sent: to enqueue it again
            under the same id.
    """

    def __init__(self, message: str, *, retriable: bool, job_id: str | None = None) -> None:
        self.retriable, self.job_id = retriable, job_id
        super().__init__(message)


class JobTooLarge(EnqueueError):
    """A job's record is larger than the client takes (``message.max.bytes``); nothing was sent.

    Attributes:
        job: the job's name.
        problem: the same without it.
    """

    def __init__(self, job: str, problem: str) -> None:
        self.job, self.problem = job, problem
        super().__init__(f"job {job!r}: {problem}", retriable=False)


class BrokerUnavailable(StreamjobsError):
    """No broker answers at the bootstrap address; it may come back."""


class AuthenticationError(StreamjobsError):
    """The broker answers, and refuses our credentials or rights."""


class BrokerSetupError(StreamjobsError):
    """A development broker could not be obtained or started."""


class RecordError(StreamjobsError):
    """A record that cannot be turned into a call of a registered job."""


class InvalidRecord(RecordError):
    """The bytes are not a job of ours, or are cut short, overlong or left over."""


class UnknownJob(RecordError):
    """A well-formed job under a name that this program does not define."""


class SchemaUnavailable(RecordError):
    """The place schemas are kept in does not answer; the record may be perfectly good."""


class Control(Exception):
    """The base of what a handler raises to decide about its job."""


class RetryAfter(Control):
    """Try this job again after ``delay`` (``"5m"``, or seconds): uses one rung of the ladder."""

    def __init__(self, delay: str | float) -> None:
        self.delay = delay
        super().__init__(f"retry after {delay}")


class Discard(Control):
    """End this job without a dead letter: there is nothing to do, and nothing went wrong."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


class DeadLetter(Control):
    """End this job as a dead letter now, whatever attempts are left."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)
