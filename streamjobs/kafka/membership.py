"""What a group says to one that is not a member of it, or not the one it takes it for."""

from __future__ import annotations

from streamjobs.errors import StreamjobsError
from streamjobs.kafka.rights import READ, lacking


class NotAMember(StreamjobsError):
    """The consumer is in no group just now: nothing may be committed in its name."""


class InstanceIdTaken(StreamjobsError):
    """Another member of the group has this process's instance id.

    Attributes:
        for_now: it had it before us: it may have died, and is forgotten after its session.
    """

    def __init__(self, group: str, name: str | None, *, for_now: bool) -> None:
        self.for_now = for_now
        what = "another member still has" if for_now else "another worker has taken over"
        super().__init__(
            f"group {group}: {what} the instance id {name!r}: every worker process needs its own "
            "STREAMJOBS_GROUP_INSTANCE_ID (on Kubernetes: a StatefulSet, and the pod's name); that "
            "of a worker that was killed is free when its session has ended"
        )


class GroupDenied(StreamjobsError):
    """The brokers deny us the right to be a member of the group: this consumer is used up."""

    def __init__(self, group: str) -> None:
        super().__init__(lacking(READ, "group", group))


class GroupForgotten(StreamjobsError):
    """The brokers know nothing of the group that we are a member of."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"group {group} does not exist any more, though this worker is in it: were the brokers "
            "replaced by empty ones, or is STREAMJOBS_BOOTSTRAP_SERVERS another cluster's by now? "
            "Start the worker again: it joins anew, and begins where offsets say, else at the "
            "beginning of what there is"
        )


class CommitRefused(StreamjobsError):
    """The broker did not take a commit; it is tried again with fresh metadata.

    Attributes:
        gone: whether that is because it has removed this member from the group.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(message)
