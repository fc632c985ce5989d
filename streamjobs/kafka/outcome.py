"""What a cycle writes, and how it failed: the words of producers and of those who call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streamjobs.errors import StreamjobsError


class CycleFailed(StreamjobsError):
    """The broker has nothing of the cycle; the same one may be tried again.

    Attributes:
        fatal: whether the producer is used up (fenced, expired) and a new one is needed.
        stuck: whether that is because its client does not come back. Its transaction is open still:
            the new one has to have the same id, and ends it.
        gone: whether the group has removed the member in whose name it is.
        refused: what the broker said of partitions that will take these records no other time.
    """

    def __init__(
        self,
        message: str,
        *,
        fatal: bool = False,
        stuck: bool = False,
        gone: bool = False,
        refused: Mapping[tuple[str, int], str] | None = None,
    ) -> None:
        self.gone = gone
        self.fatal, self.stuck, self.refused = fatal, stuck, dict(refused or {})
        super().__init__(message)


class LeftOpen(StreamjobsError):
    """It is not known what a transaction came to, and there is no more time to find out.

    Nothing more may be committed by this process; the next owner ends the transaction by its id.
    """


def does_not_exist(topic: str) -> str:
    """Say why nothing can be written to a topic that the cluster does not have."""
    return f"{topic} does not exist"


class Written(Protocol):
    """A record to be produced in a cycle; with ``partition`` -1 its key decides."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> list[tuple[str, str | bytes | None]]: ...  # noqa: D102
