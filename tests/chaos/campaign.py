"""One campaign: load, seeded faults, a calm end, the final drain, and what is known of it all."""

from __future__ import annotations

import importlib
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos.fleet import Fleet, worker_environment
from chaos.load import Load
from chaos.log import Sampler, places_of, stored_records
from history.events import Journal, read_events
from history.model import SECOND, Fault, Gap, History
from history.take_overs import TAKE_OVER, TRANSACTION

from streamjobs.app import App
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, Node
from streamjobs.kafka.progress import GroupProgress

SESSION = 6.0
# Seconds: for the final drain, and for the workers to stop after it. Each job that kills its worker
# for the first time costs the drain a session.
DRAIN, STOP = 180.0, 40.0
# Every kind of fault once, then again in another order.
DECK = (
    "kill", "kill", "halt", "short halt", "stop", "stop", "scale up", "scale down", "scale up",
    "scale to three", "broker",
)  # fmt: skip
# What every campaign has to have, comes first: on a slow machine few faults follow.
OPENING = ("halt", "broker", "kill", "stop")
# Seconds a fault waits for a worker that is in its group.
PATIENCE = 6.0


@dataclass(frozen=True)
class Plan:
    """How a campaign goes.

    Attributes:
        seed: of its choices.
        seconds: how long there are faults.
        protocol: of the group.
        most: the most workers that run at a time.
        quiet: whether it begins with a kill and nothing else: how long does a take-over take?
        killers: whether jobs kill their worker.
        gaps: what the product is known not to do.
    """

    seed: int
    seconds: float
    protocol: str
    most: int = 6
    quiet: bool = True
    killers: bool = True
    gaps: frozenset[Gap] = frozenset()


class Campaign:
    """Plays a plan on a broker.

    Args:
        plan: how.
        broker: on which; its nodes are killed where it has three.
        folder: for journals and logs.
        app: fresh, its topics made.
        work: its job.
    """

    def __init__(self, plan: Plan, broker: Broker, folder: Path, app: App, work: object) -> None:
        self._plan, self._broker, self._folder, self._app = plan, broker, folder, app
        self._draw = random.Random(plan.seed)
        environment = worker_environment(folder, app.name, broker.bootstrap, plan.protocol)
        self._fleet = Fleet(folder, environment, self._draw, SESSION)
        self._journal = Journal(folder / "producer.events", 0)
        main = app.registry.find_queue("work").topics(app.prefix).main
        self._load = Load(
            work,
            self._journal,
            bootstrap=broker.bootstrap,
            main=main,
            seed=plan.seed,
            killers=plan.killers,
        )
        self._mending: threading.Thread | None = None
        self._acts: dict[str, Callable[[], None]] = {
            "kill": lambda: self._fleet.kill(pause=self._draw.uniform(0, 1.5)),
            "halt": lambda: self._fleet.halt(SESSION + self._draw.uniform(2, 3)),
            "short halt": lambda: self._fleet.halt(self._draw.uniform(0.1, 1.5)),
            "stop": self._fleet.stop_one,
            "scale up": lambda: self._fleet.scale(plan.most),
            "scale down": lambda: self._fleet.scale(1),
            "scale to three": lambda: self._fleet.scale(min(3, plan.most)),
            "broker": self._kill_a_broker,
        }

    def play(self) -> History:
        """Play it to its end."""
        with Admin(self._app.settings) as admin:
            places, _ = places_of(self._app, admin)
        sampler = Sampler(self._app, places)
        try:
            sampler.start()
            self._fleet.target = min(3, self._plan.most)
            self._load.start()
            self._rage()
            self._load.stop()
            self._calm(places)
        finally:
            self._fleet.destroy()
            if self._mending is not None:
                self._mending.join()
        sampler.stop()
        return self._history(sampler)

    # -- faults ------------------------------------------------------------------------------

    def _rage(self) -> None:
        deadline = time.monotonic() + self._plan.seconds
        if self._plan.quiet:
            self._quiet_kill()
        for fault in self._deck():
            if time.monotonic() > deadline:
                return
            self._wait(PATIENCE, lambda: bool(self._fleet.ready()))
            self._acts[fault]()
            self._wait(self._draw.uniform(0.3, 2.0))

    def _deck(self) -> Iterator[str]:
        yield from self._draw.sample(OPENING, len(OPENING))
        while True:
            yield from self._draw.sample(DECK, len(DECK))

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if until():
                return True
            self._fleet.tick()
            time.sleep(0.02)
        return until()

    def _quiet_kill(self) -> None:
        """Kill one with nothing else going on: shows how long a take-over takes."""
        self._fleet.calm = True
        self._wait(30.0, lambda: len(self._fleet.ready()) == self._fleet.target)
        self._wait(2.0)
        seconds = 1 + (TRANSACTION if Gap.OPEN_TRANSACTIONS in self._plan.gaps else SESSION)
        self._fleet.kill(pause=seconds + TAKE_OVER)
        self._wait(seconds + TAKE_OVER)
        self._fleet.calm = False

    def _kill_a_broker(self) -> None:
        """SIGKILL a node and bring it back; one at a time: two of three are always there."""
        nodes = self._broker.nodes
        if len(nodes) < 3 or self._mending is not None:
            return
        node = self._draw.choice(nodes)
        args = (node, self._draw.uniform(0.5, 4))
        self._mending = threading.Thread(target=self._lose, args=args, daemon=True)
        self._mending.start()

    def _lose(self, node: Node, seconds: float) -> None:
        begin = time.monotonic_ns()
        node.kill()
        time.sleep(seconds)
        node.start()
        time.sleep(3)  # for its replicas to be in sync again
        self._fleet.faults.append(
            Fault(begin, time.monotonic_ns(), f"broker {node.address} killed for {seconds:.1f} s")
        )
        self._mending = None

    # -- the end -----------------------------------------------------------------------------

    def _calm(self, places: list[tuple[str, int]]) -> None:
        """No more faults; two workers bring everything to its end and stop in good order."""
        self._fleet.calm = True
        self._fleet.scale(2)
        group = self._app.registry.find_queue("work").topics(self._app.prefix).group
        self._wait(30, lambda: self._mending is None)
        topics = sorted({topic for topic, _ in places})
        self._fleet.note("faults have ended")
        with GroupProgress(self._app.settings, group, topics) as progress:
            done = self._wait(DRAIN, lambda: self._fleet.quiet and progress.at_end())
        self._fleet.note("drained" if done else f"not drained after {DRAIN:g} s")
        self._fleet.end(STOP)

    def _history(self, sampler: Sampler) -> History:
        stored, ends = stored_records(self._app)
        hits = self._fleet.hits()
        events = [e for path in self._folder.glob("*.events") for e in read_events(path)]
        self._fleet.killed_by(events)
        return History(
            session=SESSION,
            events=events,
            processes=self._fleet.processes,
            hits=hits,
            stored=stored,
            samples=sampler.samples,
            ends=ends,
            faults=sorted(self._fleet.faults, key=lambda f: f.at),
            gaps=self._plan.gaps,
        )


@contextmanager
def campaign_of(plan: Plan, broker: Broker, folder: Path) -> Iterator[Campaign]:
    """Make a fresh app and its topics for a campaign; the app is closed afterwards."""
    name = f"chaos-{uuid.uuid4().hex[:8]}"
    before = dict(os.environ)
    os.environ.update(worker_environment(folder, name, broker.bootstrap, plan.protocol))
    try:
        module = importlib.import_module("chaos.app")
        app: App = module.app
        with Admin(app.settings) as admin:
            admin.apply(admin.plan(app.registry.topic_specs(app.prefix)))
        try:
            yield Campaign(plan, broker, folder, app, module.work)
        finally:
            app.close()
    finally:
        sys.modules.pop("chaos.app", None)
        os.environ.clear()
        os.environ.update(before)


def seconds_of(history: History) -> float:
    """How long it took, from its first event to its last."""
    return (max(e.at for e in history.events) - history.zero) / SECOND
