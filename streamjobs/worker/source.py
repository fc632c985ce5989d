"""What a worker, or a child process of it, needs of an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from streamjobs.codec import SchemaStore
from streamjobs.registry import Registry
from streamjobs.settings import Settings


class Outgoing(Protocol):
    """A child job ready to be produced."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes: ...  # noqa: D102


@dataclass(frozen=True)
class Source:
    """What a worker needs of an app: plain parts, so that it depends on no facade.

    Attributes:
        child: the command that starts a child process with the same app, up to the numbers of its
            pipes; empty where there can be none: then suspects run in threads.
    """

    app: str
    registry: Registry
    settings: Settings
    prefix: str
    store: SchemaStore
    outgoing: Callable[[Any], Outgoing]
    child: tuple[str, ...] = ()
