"""One campaign: load, seeded faults, a calm end, the final drain, and what is known of it all."""

from __future__ import annotations

import importlib
import logging
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
from chaos.orders import Order, Orders
from history.events import Event, Journal, Kind, read_events
from history.model import FOREVER, SECOND, Fault, Gap, History, Stored
from history.take_overs import limit_of, take_overs

from streamjobs.app import App
from streamjobs.errors import BrokerSetupError
from streamjobs.kafka.admin import Admin
from streamjobs.kafka.brokers import Broker, Node
from streamjobs.kafka.progress import GroupProgress

logger = logging.getLogger("chaos")

SESSION = 6.0
# Seconds: for the final drain, and for the workers to stop after it. Each job that kills its worker
# for the first time costs the drain a session.
DRAIN, STOP = 180.0, 40.0
# How often a kill with nothing else going on is tried until it shows how long a take-over takes,
# and seconds that each may take until it happens.
QUIET_TRIES, QUIET_WAIT = 3, 30.0
# At which of its transactions a worker is killed then: some seconds after it has joined.
QUIET_PASS = 10
# Every kind of fault once, then again in another order.
DECK = (
    "kill", "kill", "halt", "short halt", "stop", "stop", "scale up", "scale down", "scale up",
    "scale to three", "broker",
)  # fmt: skip
# What every campaign has to have, comes first: on a slow machine few faults follow.
OPENING = ("halt", "broker", "kill", "stop", "scale up")
# How often a node is waited for that was killed, a minute each time.
STARTS = 3
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
        quiet: whether it begins with kills and nothing else: how long does a take-over take?
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

    @property
    def dies_in(self) -> str | None:
        """Where in its transaction the worker of the quiet kill dies; None: anywhere.

        Both kinds with both protocols, which go by whether the seed is even.
        """
        if self.seed // 2 % 2 == 0:
            return None
        return ("txn.produced", "txn.offsets-sent")[self.seed // 4 % 2]


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
        orders = Orders(plan.seed, self._draw)
        self._fleet = Fleet(folder, environment, self._draw, orders, SESSION)
        self._journal = Journal(folder / "producer.events", 0)
        main = app.registry.find_queue("work").topics(app.prefix).main
        self._load = Load(
            work, self._journal, bootstrap=broker.bootstrap, main=main, seed=plan.seed
        )
        self._mending: threading.Thread | None = None
        self._acts: dict[str, Callable[[], object]] = {
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
        if self._plan.quiet:
            self._quiet_kill()
        deadline = time.monotonic() + self._plan.seconds
        self._load.killers = self._plan.killers
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
        """Kill one with nothing else going on, until it is known how long a take-over takes."""
        self._fleet.calm = True
        for _ in range(QUIET_TRIES):
            victim = self._kill_quietly()
            if victim is not None and self._is_measured(victim):
                break
        self._fleet.calm, self._fleet.target = False, min(3, self._plan.most)

    def _kill_quietly(self) -> int | None:
        """Kill one of three, or have it die in a transaction; returns which, if it has died."""
        fleet, point = self._fleet, self._plan.dies_in
        fleet.target = 3 if point is None else 2
        self._wait(QUIET_WAIT, lambda: len(fleet.ready()) >= fleet.target)
        self._wait(2.0)
        if point is None:
            victim = fleet.kill()
            fleet.target = 2
            return victim
        victim = fleet.start(Order(point, f";{point}=kill@{QUIET_PASS}"))
        # When it is dead nobody else is started for it.
        died = self._wait(QUIET_WAIT, lambda: fleet.processes[victim].killed is not None)
        return victim if died else None

    def _is_measured(self, victim: int) -> bool:
        """Wait until what the killed worker owned runs elsewhere, or should have."""

        def waits() -> list[float]:
            return [t.seconds for t in take_overs(self._so_far()) if t.worker == victim]

        def is_over() -> bool:
            self._wait(0.3)
            found = waits()
            return bool(found) and max(found) < FOREVER / SECOND / 2

        self._wait(limit_of(self._so_far()) + 1, is_over)
        return bool(waits())

    def _so_far(self) -> History:
        """What is known while it runs: of the jobs, where they lie."""
        events = self._events(growing=True)
        main = [
            Stored("main", "", e.partition, e.offset, e.at, None, None, e.job, (0, 0))
            for e in events
            if e.kind is Kind.ENQUEUED
        ]
        return History(
            session=SESSION,
            events=events,
            processes=self._fleet.processes,
            hits=self._fleet.hits(),
            stored=main,
            faults=self._fleet.faults,
            gaps=self._plan.gaps,
        )

    def _events(self, *, growing: bool = False) -> list[Event]:
        paths = self._folder.glob("*.events")
        return [e for path in paths for e in read_events(path, growing=growing)]

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
        _start(node)
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
        hits, events = self._fleet.hits(), self._events()
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


def _start(node: Node) -> None:
    """Bring it back, also where the machine stands still for longer than it may take."""
    for _ in range(STARTS - 1):
        try:
            node.start()
        except BrokerSetupError as error:
            logger.warning("%s", error)
        else:
            return
    node.start()


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
