"""What a campaign enqueues: jobs of hot keys and cold ones, some of which fail, and poison."""

from __future__ import annotations

import random
import threading
from typing import Any
from uuid import UUID

from confluent_kafka import Producer
from history.events import Journal

from streamjobs.errors import StreamjobsError

# Jobs per second and thread, and how many threads.
RATE, THREADS = 20.0, 3
HOT, COLD = ("hot-0", "hot-1"), [f"cold-{n}" for n in range(400)]
POISON = (b"", b"\x00", b"{}", b"\xc3\x01" + bytes(8), b"\xc3\x01" + bytes(60), None)
# One job in so many kills its process: a few in a campaign of a minute. One does for certain, the
# first thread's so-manieth.
KILLER, SURE_KILLER = 700, 40
# Seconds between poisonous records.
POISON_INTERVAL = 0.7


class Load:
    """Enqueues until stopped, and notes what was acknowledged.

    Args:
        work: the app's job.
        journal: where acknowledged jobs are noted.
        main: where poison goes.
        seed: of the campaign.

    Attributes:
        killers: whether some jobs kill their worker from now on.
        errors: what was said of jobs that were not acknowledged.
    """

    def __init__(
        self, work: Any, journal: Journal, *, bootstrap: str, main: str, seed: int
    ) -> None:
        self._work, self._journal, self._main = work, journal, main
        self.killers, self._sure = False, SURE_KILLER
        self._stop = threading.Event()
        self._poison = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        self._threads = [
            threading.Thread(
                target=self._run, args=(random.Random(f"{seed}/{n}"), n == 0), daemon=True
            )
            for n in range(THREADS)
        ]
        self._threads.append(
            threading.Thread(target=self._spoil, args=(random.Random(f"{seed}/p"),), daemon=True)
        )
        self.errors: list[str] = []

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Enqueue no more; what is under way is waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._poison.flush(30)

    def _run(self, draw: random.Random, first: bool) -> None:
        while not self._stop.wait(draw.expovariate(RATE)):
            lane, job = _lane(draw), str(UUID(int=draw.getrandbits(128), version=4))
            call = self._work.options(id=job)
            try:
                ref = call.enqueue(lane=lane, **self._how(draw, sure=first and self._is_due()))
            except StreamjobsError as error:
                self.errors.append(str(error))  # it may be there or not: main tells
            else:
                self._journal.enqueued(job, lane, ref.partition, ref.offset)

    def _is_due(self) -> bool:
        """Whether the killer that is certain comes now."""
        self._sure -= self.killers
        return self.killers and self._sure == 0

    def _how(self, draw: random.Random, *, sure: bool) -> dict[str, Any]:
        chance = draw.random()
        fails = 0 if chance > 0.2 else 1 if chance > 0.08 else 2 if chance > 0.03 else 3
        end = draw.choice(["child", "discard", "dead"]) if draw.random() < 0.08 else "success"
        ms = draw.randrange(200, 400) if draw.random() < 0.02 else draw.randrange(20)
        if sure or (self.killers and draw.random() < 1 / KILLER):
            # The first attempt alone, or each: then it is dead after three of them.
            fails, end = draw.choice([1, 9]), "kill"
        return {"fails": fails, "ms": ms, "end": end}

    def _spoil(self, draw: random.Random) -> None:
        while not self._stop.wait(POISON_INTERVAL):
            value = draw.choice([*POISON, draw.randbytes(30)])
            key = draw.choice([None, _lane(draw).encode()])
            self._poison.produce(self._main, value, key)
            self._poison.poll(0)


def _lane(draw: random.Random) -> str:
    return draw.choice(HOT) if draw.random() < 0.04 else draw.choice(COLD)
