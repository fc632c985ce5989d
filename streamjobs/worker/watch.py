"""Whether a queue's topics and partitions are what its worker takes them for: looked at at times.

An operator can delete a topic or add partitions to it while workers run. Of some of that a consumer
hears nothing, or minutes later. A thread with an admin client of its own asks the broker for the
queue's topics by name, which costs one small request however many topics the broker has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping

from streamjobs.engine.ladder import Ladder
from streamjobs.engine.outbox import Partition
from streamjobs.errors import AuthenticationError, BrokerUnavailable, StreamjobsError
from streamjobs.kafka.admin import Admin, TopicInfo
from streamjobs.kafka.plan import APPLY, added_problem
from streamjobs.kafka.rights import Needs, needs_of
from streamjobs.settings import Settings
from streamjobs.topics import schemas_topic
from streamjobs.wording import counted
from streamjobs.worker.telling import absent

logger = logging.getLogger("streamjobs.worker")

# Seconds between two looks.
LOOK_EVERY = 30.0
# The same while something is wrong.
LOOK_AGAIN = 5.0


class TopicWatch:
    """Looks at the topics of a worker's queues; what is wrong is logged and kept for readiness.

    Args:
        settings: of the process.
        on_another: is told of a queue that has to join its group again: one of its topics was
            deleted and made again, or its client has missed what the group gave it.
        process: what tells this process from others among a group's members.
        owned: tells what a queue's loop has been given; None: that is not compared.
    """

    def __init__(
        self,
        settings: Settings,
        on_another: Callable[[str], None],
        process: str = "",
        owned: Callable[[str], Collection[Partition]] | None = None,
    ) -> None:
        self._settings, self._on_another = settings, on_another
        self._process, self._owned = process, owned
        self._missed: dict[str, set[Partition]] = {}
        self._ladders: dict[str, Ladder] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._stop_asked, self._wake = threading.Event(), threading.Event()
        self._asks_group = False
        self._thread = threading.Thread(target=self._run, name="topic-watch", daemon=True)

    def watch(self, ladder: Ladder) -> None:
        """Look at this queue's topics from now on; a later ladder of the queue replaces it."""
        self._ladders[ladder.topics.queue] = ladder

    def problems(self, queue: str) -> tuple[str, ...]:
        """What was wrong with a queue's topics at the last look, a sentence each; any thread."""
        return self._problems.get(queue, ())

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; may be called before ``start``, and does not wait for a look under way."""
        self._stop_asked.set()
        self._wake.set()

    def look_now(self) -> None:
        """Do not wait with the next look: somebody was denied a right; any thread."""
        self._asks_group = True
        self._wake.set()

    def look(self, admin: Admin) -> None:
        """Compare once.

        The group is asked about only after a denial, and while something is wrong: its coordinator
        has other things to do.
        """
        denied_something, self._asks_group = self._asks_group, False
        for queue, ladder in list(self._ladders.items()):
            group = ladder.topics.group if denied_something or self.problems(queue) else None
            schemas = [schemas_topic(ladder.topics.prefix)]
            if self._settings.schema_registry_url is not None:
                schemas = []
            if denied := admin.denied(self._needs(ladder, schemas), group):
                self._tell(queue, tuple(denied))
                continue
            there = admin.described([*topics_of(ladder), *schemas])
            gone = tuple(absent(topic) for topic in schemas if topic not in there)
            found = (*compare(ladder, there), *gone)
            self._tell(queue, found)
            if not found and made_anew(ladder, there):
                self._on_another(queue)
            if not found and self._owned is not None:
                self._compare(admin, ladder, self._owned)

    def _compare(
        self, admin: Admin, ladder: Ladder, owned: Callable[[str], Collection[Partition]]
    ) -> None:
        """See that the client has handed over what the group says that we have.

        With KIP-848 it may miss that (librdkafka 2.16, seen while coordinators were killed), and
        hears of it no other time: nobody would run those partitions.
        """
        queue, group = ladder.topics.queue, ladder.topics.group
        told = admin.given_to(group, ladder.mains[0], self._process)
        if told is None:
            return
        missing = told.difference(owned(queue))
        before, self._missed[queue] = self._missed.get(queue, set()), missing
        if stuck := sorted(missing & before):
            logger.error(
                "queue %s: its group has given it %s for a while, and its client has not handed "
                "that over: it joins the group again",
                queue,
                ", ".join(f"{topic}[{number}]" for topic, number in stuck),
            )
            del self._missed[queue]
            self._on_another(queue)

    def _needs(self, ladder: Ladder, schemas: list[str]) -> Needs:
        return needs_of(
            ladder.topics,
            reads=ladder.reads,
            writes=ladder.writes,
            schemas=schemas[0] if schemas else None,
        )

    def _run(self) -> None:
        try:
            with Admin(self._settings) as admin:
                if self._is_embedded(admin):
                    return  # it has no topic administration, and nobody else's either
                while self._waited():
                    try:
                        self.look(admin)
                    except AuthenticationError as error:
                        for queue in self._ladders:
                            self._tell(queue, (str(error),))
                    except BrokerUnavailable as error:
                        self._tell_silent(error)
                    except StreamjobsError as error:
                        logger.info("topics could not be looked at: %s", error)
        except Exception:
            logger.exception("topics are looked at no more")

    def _waited(self) -> bool:
        """Wait until it is time to look; False when stopped."""
        wrong = any(self._problems.values())
        self._wake.wait(min(LOOK_AGAIN, LOOK_EVERY) if wrong else LOOK_EVERY)
        self._wake.clear()
        return not self._stop_asked.is_set()

    def _is_embedded(self, admin: Admin) -> bool:
        while not self._stop_asked.is_set():
            try:
                return admin.embedded
            except StreamjobsError as error:
                logger.info("topics could not be looked at: %s", error)
                self._stop_asked.wait(LOOK_EVERY)
        return True

    def _tell_silent(self, error: BrokerUnavailable) -> None:
        """Nobody answers: what was wrong before that is wrong still, and tells more."""
        for queue in self._ladders:
            if not self.problems(queue):
                self._tell(queue, (str(error),))

    def _tell(self, queue: str, found: tuple[str, ...]) -> None:
        before, self._problems[queue] = self._problems.get(queue, ()), found
        for problem in found:
            if problem not in before:
                logger.error("queue %s: %s", queue, problem)
        if before and not found:
            logger.warning("queue %s: the brokers and its topics are as they must be again", queue)


def topics_of(ladder: Ladder) -> list[str]:
    """The topics that a queue's workers read or write."""
    return [*ladder.mains, *ladder.reads, ladder.topics.dlq, ladder.topics.marks]


def made_anew(ladder: Ladder, there: Mapping[str, TopicInfo]) -> list[str]:
    """The topics of a ladder that have another id than it says."""
    ids = {topic: there[topic].topic_id for topic in (*ladder.mains, *ladder.reads)}
    return [
        t for t, now in ids.items() if (then := ladder.topic_ids.get(t)) and now not in {then, ""}
    ]


def compare(ladder: Ladder, there: Mapping[str, TopicInfo]) -> tuple[str, ...]:
    """Say what is wrong, a sentence each: topics that are gone, and other partition counts."""
    wrong = []
    declared = ladder.partitions
    for topic in topics_of(ladder):
        info = there.get(topic)
        if info is None:
            wrong.append(absent(topic))
        elif declared is None or info.partitions == declared:
            continue
        elif topic in ladder.mains and info.partitions > declared:
            wrong.append(
                added_problem(topic, info.partitions, declared, ladder.topics, running=True)
            )
        else:
            wrong.append(
                f"topic {topic} has {counted(info.partitions, 'partition')}, and queue "
                f"{ladder.topics.queue!r} {declared}: a worker that starts now refuses; "
                f"'{APPLY}' says what to do"
            )
    return tuple(wrong)
