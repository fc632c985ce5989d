"""Ordering keys: how a job's key comes from its arguments, as text that stays the same."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from streamjobs.errors import DefinitionError, InvalidArguments
from streamjobs.job import Parameter

KeyRule = Callable[[Mapping[str, Any]], str | None]
Key = str | int | UUID | date | Enum | None
KEY_TYPES = "str, int, bool, UUID, date, an Enum or a Literal of strings"


def key_text(value: object) -> str | None:
    """Return a key as text, the same in every language and release; None means no order.

    ``int`` is decimal, ``bool`` is ``true`` or ``false``, UUID lower case with dashes, date ISO
    8601, an Enum its member's name.

    Raises:
        TypeError: there is no such text for it: a float or a time has many.
    """
    if value is None:
        return None
    for kind, text in _TEXTS:
        if isinstance(value, kind):
            return text(value)
    raise TypeError(f"a key is {KEY_TYPES} or None, not {type(value).__name__}")


def _no_key(value: object) -> str:
    raise TypeError(f"a key is {KEY_TYPES} or None, not {type(value).__name__}")


# The first that fits: some of these are kinds of others.
_TEXTS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (Enum, lambda member: str(member.name)),
    (str, str.__str__),
    (bool, lambda flag: "true" if flag else "false"),
    (int, int.__repr__),
    (UUID, str),
    (datetime, _no_key),
    (date, date.isoformat),
)


def key_rule(
    job: str, key: str | Callable[..., Any] | None, parameters: tuple[Parameter, ...]
) -> KeyRule | None:
    """Return the rule that makes a job's key from its checked arguments.

    Args:
        job: the job's name.
        key: an argument's name; or a callable, which is given those arguments it has parameters
            for; or None for jobs without order.
        parameters: of the job.

    Raises:
        DefinitionError: no such argument, or one that is no key.
    """
    if key is None:
        return None
    if isinstance(key, str):
        return _by_name(job, key, parameters)
    if callable(key):
        return _by_callable(job, key, parameters)
    raise DefinitionError(
        f"job {job!r}: key={key!r} must be the name of an argument, or a callable"
    )


def _by_name(job: str, key: str, parameters: tuple[Parameter, ...]) -> KeyRule:
    found = next((p for p in parameters if p.name == key), None)
    if found is None:
        names = [p.name for p in parameters]
        close = get_close_matches(key, names, n=1)
        raise DefinitionError(
            f"job {job!r}: key={key!r} is none of its arguments ({', '.join(names) or 'none'})"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    if not _may_be_key(found.hint):
        raise DefinitionError(
            f"job {job!r}: key={key!r} is {found.hint!r}, and a key is {KEY_TYPES}: "
            "give a callable that makes one of these"
        )
    # A call a job: the two common types are spared the search for theirs.
    if found.hint is str:
        return lambda args: str.__str__(args[key])
    if found.hint is int:
        return lambda args: int.__repr__(args[key])
    return lambda args: key_text(args[key])


def _may_be_key(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        return _may_be_key(get_args(hint)[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType):
        return all(part is type(None) or _may_be_key(part) for part in get_args(hint))
    return (
        isinstance(hint, type)
        and issubclass(hint, str | int | UUID | date | Enum)
        and not issubclass(hint, datetime)
    )


def _by_callable(job: str, make: Callable[..., Any], parameters: tuple[Parameter, ...]) -> KeyRule:
    names = tuple(p.name for p in parameters)
    wanted = list(inspect.signature(make).parameters.values())
    taken = [p.name for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if any(p.kind is p.VAR_KEYWORD for p in wanted):
        taken = list(names)
    unknown = [
        p.name
        for p in wanted
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and p.default is p.empty
        and (p.name not in names or p.kind is p.POSITIONAL_ONLY)
    ]
    if unknown:
        raise DefinitionError(
            f"job {job!r}: its key callable wants {', '.join(unknown)}, and the job's arguments "
            f"are {', '.join(names) or 'none'}: name its parameters as the job's"
        )
    given = tuple(name for name in taken if name in names)

    def rule(args: Mapping[str, Any]) -> str | None:
        try:
            return key_text(make(**{name: args[name] for name in given}))
        except Exception as error:
            raise InvalidArguments(
                job, (f"key: the key callable fails: {type(error).__name__}: {error}",)
            ) from error

    return rule
