"""What a job is: its definition as registered, and its envelope as it travels. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_type_hints

from streamjobs.errors import DefinitionError

_JOB_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Parameter:
    """One argument of a job: its name, its resolved hint (``Annotated`` kept) and its default."""

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a call has to give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class JobDefinition:
    """A registered job.

    Attributes:
        name: as on the wire, unique in the app.
        queue: the name of its queue.
        function: what runs.
        parameters: its arguments in order, without the context.
        takes_context: whether the function's first parameter is the ``Context``.
        key: how the ordering key comes from the arguments; None for jobs without order. Returns
            text, or None for a single job without order.
    """

    name: str
    queue: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    takes_context: bool = False
    key: Callable[[Mapping[str, Any]], str | None] | None = None


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The envelope's optional part; absent (None) for nearly every job."""

    expires_at: datetime | None = None
    timeout_ms: int | None = None
    trace: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    workflow: str | None = None


@dataclass(slots=True)
class Envelope:
    """A decoded job as its handler meets it.

    Attributes:
        id: the job's id from the envelope.
        job: its name.
        enqueued_at: microseconds since the epoch.
        options: as decoded, or None.
        args: the validated arguments, by name.
    """

    id: str
    job: str
    enqueued_at: int
    options: Mapping[str, Any] | None
    args: dict[str, Any]


def check_job_name(name: str) -> str:
    """Return ``name`` when it may name a job.

    Raises:
        DefinitionError: when it does not match ``[A-Za-z_][A-Za-z0-9_]*``.
    """
    if not isinstance(name, str) or not _JOB_NAME.fullmatch(name):
        raise DefinitionError(f"job name {name!r}: use letters, digits and '_', no digit first")
    return name


def read_parameters(
    function: Callable[..., Any], context_type: type
) -> tuple[bool, tuple[Parameter, ...]]:
    """Read a function's signature: whether it takes a context first, and its arguments.

    Raises:
        DefinitionError: naming the parameter that has no hint, is variadic or positional-only, or
            is a context anywhere but first.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"job {function.__name__!r}: hint names {error.name!r}, which is not there at run "
            "time; import it outside of 'if TYPE_CHECKING'"
        ) from error
    parameters = list(inspect.signature(function).parameters.values())
    takes_context = bool(parameters) and hints.get(parameters[0].name) is context_type
    arguments = parameters[takes_context:]
    return takes_context, tuple(
        _argument(function.__name__, p, hints, context_type) for p in arguments
    )


def _argument(
    job: str, p: inspect.Parameter, hints: dict[str, Any], context_type: type
) -> Parameter:
    where = f"job {job!r}, parameter {p.name!r}"
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
        raise DefinitionError(
            f"{where}: arguments are columns on the wire, so there can be no *args or **kwargs"
        )
    if p.kind is p.POSITIONAL_ONLY:
        raise DefinitionError(
            f"{where}: positional-only, and arguments travel by name; remove the '/'"
        )
    if p.name not in hints:
        raise DefinitionError(
            f"{where}: has no type hint, and the hint is its type on the wire; add one"
        )
    if hints[p.name] is context_type:
        raise DefinitionError(f"{where}: the Context must be the first parameter")
    return Parameter(p.name, hints[p.name], p.default)
