"""The consumer group of the model: classic (all at once) and KIP-848 (partition by partition).

Partitions of one number go to one member (co-partitioned ``range``). A member is known by its id;
the worker behind it learns what the group decided only when it polls.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from unit.simulator.model_log import Log


class Group:
    """What both protocols share.

    Args:
        shards: the partitions of each number.
        before_change: called before partitions change hands.

    Attributes:
        members: the id of each, with the generation it was last told.
        whole: by number, the member that owns all partitions of it.
        rebalances: how many times the members changed.
    """

    def __init__(
        self, rng: Random, shards: list[list[Log]], before_change: Callable[[], None]
    ) -> None:
        self.rng, self.shards, self.before_change = rng, shards, before_change
        self.logs = [log for shard in shards for log in shard]
        self.members: dict[str, int] = {}
        self.generation = self.rebalances = self._names = 0
        self.whole: list[str | None] = [None] * len(shards)

    def knows(self, member: str | None, generation: int) -> bool:
        raise NotImplementedError

    def join(self) -> str:
        self._names += 1
        member = f"m{self._names}"
        self.members[member] = -1
        self._changed()
        return member

    def leave(self, member: str) -> None:
        """It left, or its session expired."""
        if member not in self.members:
            return
        self.before_change()
        del self.members[member]
        for log in self.logs:
            if log.owner == member:
                log.owner = None
        self._settle_whole()
        self._changed()

    def concerns(self, member: str | None) -> bool:
        """Whether there is news for a member that polls."""
        raise NotImplementedError

    def to_revoke(self, member: str, owned: list[Log]) -> list[Log]:
        """What a member that polls is asked to give back."""
        raise NotImplementedError

    def given_back(self, member: str, logs: list[Log]) -> None:
        raise NotImplementedError

    def to_assign(self, member: str, owned: list[Log]) -> list[Log] | None:
        """What a member that polls is given; None when the group has no news for it."""
        raise NotImplementedError

    def _changed(self) -> None:
        raise NotImplementedError

    def _range(self) -> dict[int, str]:
        """Number to member, as range does it: members in order of their ids."""
        names = sorted(self.members)
        if not names:
            return {}
        each, more = divmod(len(self.shards), len(names))
        target: dict[int, str] = {}
        number = 0
        for place, name in enumerate(names):
            for _ in range(each + (place < more)):
                target[number] = name
                number += 1
        return target

    def _settle_whole(self) -> None:
        for number, shard in enumerate(self.shards):
            owner = shard[0].owner
            self.whole[number] = owner if all(log.owner == owner for log in shard) else None


class ClassicGroup(Group):
    """Everybody gives all back, everybody joins, everybody is given a share."""

    def __init__(
        self, rng: Random, shards: list[list[Log]], before_change: Callable[[], None]
    ) -> None:
        super().__init__(rng, shards, before_change)
        self.preparing = False
        self.joined: set[str] = set()

    def knows(self, member: str | None, generation: int) -> bool:
        return member in self.members and generation == self.generation

    def concerns(self, member: str | None) -> bool:
        if self.preparing:
            return member not in self.joined
        return member is None or self.members[member] != self.generation

    def to_revoke(self, member: str, owned: list[Log]) -> list[Log]:
        return owned if self.preparing and member not in self.joined else []

    def given_back(self, member: str, logs: list[Log]) -> None:
        """It has given everything back, and joins."""
        if self.preparing and member in self.members:
            self.joined.add(member)
            self._complete()

    def to_assign(self, member: str, owned: list[Log]) -> list[Log] | None:
        if self.preparing or self.members[member] == self.generation:
            return None
        self.members[member] = self.generation
        return [log for log in self.logs if log.owner == member]

    def _changed(self) -> None:
        if not self.preparing:
            self.preparing = True
            self.joined = set()
        self.joined &= set(self.members)
        self._complete()

    def _complete(self) -> None:
        if not self.members or len(self.joined) < len(self.members):
            return
        self.before_change()
        self.preparing = False
        self.generation += 1
        self.rebalances += 1
        target = self._range()
        for number, shard in enumerate(self.shards):
            for log in shard:
                log.owner = target[number]
        self._settle_whole()


class SteppingGroup(Group):
    """A partition is given to its new owner when the old one has given it back, each for itself."""

    def __init__(
        self, rng: Random, shards: list[list[Log]], before_change: Callable[[], None]
    ) -> None:
        super().__init__(rng, shards, before_change)
        self.target: dict[int, str] = {}
        self.settled = True

    def knows(self, member: str | None, generation: int) -> bool:
        return member in self.members

    def concerns(self, member: str | None) -> bool:
        return not self.settled

    def to_revoke(self, member: str, owned: list[Log]) -> list[Log]:
        if self.settled:
            return []
        back = [log for log in owned if self.target[log.number] != member]
        return self._some(back)

    def given_back(self, member: str, logs: list[Log]) -> None:
        self.before_change()
        for log in logs:
            if log.owner == member:
                log.owner = None
                # While it was being given back it may have become its own again.
                self.settled = False
        self._settle_whole()

    def to_assign(self, member: str, owned: list[Log]) -> list[Log] | None:
        if self.settled:
            return None
        free = [x for x in self.logs if x.owner is None and self.target[x.number] == member]
        given = self._some(free)
        if given:
            self.members[member] = self.generation
            self.before_change()
            for log in given:
                log.owner = member
            self._settle_whole()
            self.settled = all(log.owner == self.target[log.number] for log in self.logs)
        return given or None

    def _some(self, logs: list[Log]) -> list[Log]:
        """All of them, or as many as arrive in this step."""
        if len(logs) < 2 or self.rng.random() < 0.3:
            return logs
        return self.rng.sample(logs, self.rng.randint(1, len(logs)))

    def _changed(self) -> None:
        self.target = self._range()
        self.generation += 1
        self.rebalances += 1
        self.settled = False
        if not self.members:
            self.settled = True
