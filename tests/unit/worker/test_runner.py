"""A worker that starts while a cluster is short of a node."""

from __future__ import annotations

import signal
import threading
from contextlib import nullcontext
from typing import Any

import pytest

from streamjobs import App
from streamjobs.engine.ladder import Ladder
from streamjobs.errors import BrokerUnavailable, TopicsError
from streamjobs.kafka.admin import Admin
from streamjobs.worker import runner
from streamjobs.worker.runner import Options, Worker
from streamjobs.worker.source import Source


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    app = App("shop", bootstrap_servers="nowhere:1")
    app.queue("mail")
    monkeypatch.setattr(runner, "require_broker", lambda *_, **__: None)
    monkeypatch.setattr(runner, "BROKER_PAUSE", 0.0)
    store: Any = None
    source = Source("shop", app.registry, app.settings, app.prefix, store, lambda call: call)
    return Worker(source, ["mail"], Options())


def answers(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> list[Exception]:
    """Have each question about topics fail with the next of these; returns what is left."""
    left = list(errors)

    def fail(*_: object) -> None:
        raise left.pop(0)

    monkeypatch.setattr(Admin, "topics", fail)
    return left


def test_it_asks_again_where_the_controller_does_not_answer(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given a controller that is silent twice, and then topics that are wrong
    silent = BrokerUnavailable("describing topics: no answer (Timed out waiting for controller)")
    left = answers(monkeypatch, silent, silent, TopicsError("topic shop.mail is missing"))

    # when it runs, then only what asking again does not mend ends it
    with pytest.raises(TopicsError, match=r"shop\.mail"):
        worker.run()
    assert left == []
    assert caplog.text.count("waiting for controller); trying on") == 2


def test_what_has_to_join_again_does_once_the_topics_can_be_looked_at(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a queue that has to join its group again, and brokers that do not answer at first
    queue = worker._queues[0]
    topics = queue.topics("shop")
    ladder = Ladder(topics, topics.mains, {topics.tier(1): 1.0}, (1.0,))
    loop = worker._make_loop(queue, ladder)
    monkeypatch.setattr(runner, "check", lambda *_, **__: fails())
    monkeypatch.setattr(runner, "Admin", lambda _: nullcontext())
    worker._loops = [loop]
    worker._renew("mail")

    def fails() -> Ladder:
        raise BrokerUnavailable("no answer")

    # when it is to, then it is not done with that before they do
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            loop._renew({*topics.mains, topics.tier(1)}, {topics.tier(1)})
    monkeypatch.setattr(runner, "check", lambda *_, **__: ladder)
    assert loop._renew({*topics.mains, topics.tier(1)}, {topics.tier(1)}) is not None
    assert loop._renew({*topics.mains, topics.tier(1)}, {topics.tier(1)}) is None


def test_it_can_be_stopped_meanwhile(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(BrokerUnavailable):
        def __init__(self) -> None:
            super().__init__("no answer")
            worker.stop()

    def fail(*_: object) -> None:
        raise Silent

    monkeypatch.setattr(Admin, "topics", fail)

    worker.run()

    assert worker.report() == []


def test_a_signal_that_another_thread_is_given_stops_it_too(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a worker that runs, and a thread beside it that does not block signals
    monkeypatch.setattr(worker, "_ladders", list)
    worker._queues = []
    waits, late = threading.Event(), threading.Event()
    wait = worker._ended.wait

    def waiting(timeout: float | None = None) -> bool:
        waits.set()
        return wait(timeout)

    def other() -> None:
        waits.wait(10)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        if not wait(5):
            late.set()
            worker.stop()

    monkeypatch.setattr(worker._ended, "wait", waiting)
    before = signal.signal(signal.SIGUSR2, lambda *_: worker.stop())
    thread = threading.Thread(target=other)
    try:
        # when the kernel gives the signal to that thread
        thread.start()
        worker.run()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)

    # then the worker ends all the same
    assert not late.is_set()
