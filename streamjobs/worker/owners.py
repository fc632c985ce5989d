"""What the text beside a committed offset tells of the owner that wrote it."""

from __future__ import annotations

import re
from collections.abc import Collection

from streamjobs.engine.metadata import Committed, Metadata, conclude, read
from streamjobs.kafka.standing import Stand

_PROCESS = re.compile(r"\.([0-9a-f]{16})\.[0-9a-f]{8}\Z")


def read_id(text: str) -> str | None:
    """Read the last owner's transactional id from the text beside an offset, if it is told."""
    metadata = read(text, None)
    return None if metadata is None else metadata.transactional_id


def is_gone(text: str, process: str) -> bool:
    """Whether a text says that its owner has not given the partition back, and is not ourselves.

    Who is given a partition by the group finds such a text where its owner has died, or has been
    cut off and may commit no more.
    """
    metadata = read(text, None)
    return (
        metadata is not None
        and not metadata.clean
        and process_of(metadata.transactional_id) != process
    )


def owner_of(stand: Stand) -> str | None:
    """The transactional id of the last owner, if it is told."""
    metadata = metadata_of(stand)
    return None if metadata is None else metadata.transactional_id


def metadata_of(stand: Stand) -> Metadata | None:
    """What it tells; None where there is no offset, or what stands there is not ours."""
    return None if stand.offset is None else read(stand.text, stand.offset)


def read_tried(text: str) -> str | None:
    """Read from the text beside an offset which process tried a job alone, if one did."""
    metadata = read(text, None)
    if metadata is None or not metadata.suspicion.trying:
        return None
    return process_of(metadata.transactional_id)


def process_of(transactional_id: str | None) -> str | None:
    """The part of a worker's transactional id that is its process's own: GROUP.PROCESS.RANDOM."""
    found = _PROCESS.search(transactional_id or "")
    return None if found is None else found[1]


def committed_of(stand: Stand, mine: str | None, members: Collection[str]) -> Committed | None:
    """What the engine is told.

    Who lost its partitions and got them back has not vanished.

    Args:
        stand: what was found.
        mine: this owner's transactional id.
        members: processes that are members of the group.
    """
    if stand.offset is None:
        return None
    metadata = metadata_of(stand)
    then = None if metadata is None else metadata.transactional_id
    # Without transactions there are no ids: then every owner before is another one.
    process = process_of(then)
    same = process is not None and process == process_of(mine)
    ours = mine is not None and (same or then in {mine, None})
    return conclude(stand.offset, metadata, ours=ours, lives=process in members)
