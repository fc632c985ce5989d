"""Every client has one thread that calls it, no callback closes one, and all are closed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from integration.scene import MakeScene, eventually

from streamjobs.cli.child import source_of
from streamjobs.kafka import delivery, endings, group, inquiry
from streamjobs.kafka.bounded import BOUNDED
from streamjobs.worker.runner import Options, Worker

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    note("end", ctx.job_id)
"""
CALLBACKS = ("on_assign", "on_revoke", "on_lost")


class Diary:
    """Who called what of which client, and in which callback.

    Attributes:
        callers: the threads of each client.
        calls: the names of what was called, by client.
        wrong: what was closed inside a callback.
    """

    def __init__(self) -> None:
        self.callers: dict[str, set[str]] = defaultdict(set)
        self.calls: dict[str, list[str]] = defaultdict(list)
        self.wrong: list[str] = []
        self._inside, self._number = threading.local(), count()

    def watched(self, kind: type[Any]) -> type[Any]:
        """The kind of client, with every call of it noted."""
        names = [n for n in dir(kind) if not n.startswith("_") and callable(getattr(kind, n))]

        def init(client: Any, *args: Any, **kwargs: Any) -> None:
            client.name = f"{kind.__name__} {next(self._number)}"
            kind.__init__(client, *args, **kwargs)

        body: dict[str, Any] = {name: self._noted(kind, name) for name in names}
        return type("Watched", (kind,), {**body, "__init__": init})

    def _noted(self, kind: type[Any], name: str) -> Callable[..., Any]:
        def call(client: Any, *args: Any, **kwargs: Any) -> Any:
            # Who makes a call in a thread of its own waits for it: still one at a time.
            caller = threading.current_thread().name.removesuffix(BOUNDED)
            self.callers[client.name].add(caller)
            self.calls[client.name].append(name)
            if name == "close" and getattr(self._inside, "callback", False):
                self.wrong.append(client.name)
            kwargs = {k: self._entered(v) if k in CALLBACKS else v for k, v in kwargs.items()}
            return getattr(kind, name)(client, *args, **kwargs)

        return call

    def _entered(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(callback)
        def enter(*args: Any) -> Any:
            self._inside.callback = True
            try:
                return callback(*args)
            finally:
                self._inside.callback = False

        return enter


def test_the_loop_alone_calls_its_clients(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker in this process, whose clients are watched
    diary = Diary()
    for module, name, kind in (
        (group, "Consumer", Consumer),
        (inquiry, "Consumer", Consumer),
        (endings, "Producer", Producer),
        (delivery, "Producer", Producer),
    ):
        monkeypatch.setattr(module, name, diary.watched(kind))
    scene = make_scene(SOURCE)
    scene.app.enqueue_many(scene.job("send").call(customer=f"c{n}") for n in range(50))
    worker = Worker(source_of(scene.app), ["mail"], Options(concurrency=4))
    thread = threading.Thread(target=worker.run)
    thread.start()

    # When it has run jobs, moved them, given a share to another one, and is stopped
    eventually(lambda: len(scene.noted("end")) == 50, "all have ended")
    other = scene.worker()
    eventually(lambda: ": assigned" in other.errors, "another has its share")
    worker.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert other.stop() == 0, other.errors

    # Then each client was called by one thread alone: the loop's, or that of its questions
    threads = {name: callers for name, callers in diary.callers.items() if len(callers) != 1}
    assert threads == {}
    assert {next(iter(x)) for x in diary.callers.values()} == {
        "streamjobs-mail",
        f"inquiry-{scene.name}.mail",
    }
    did = {call for calls in diary.calls.values() for call in calls}
    assert did >= {"poll", "consume", "commit", "produce", "send_offsets_to_transaction", "close"}

    # And each consumer was closed, once, last of all, and in no callback
    consumers = [calls for name, calls in diary.calls.items() if name.startswith("Consumer")]
    assert len(consumers) == 4
    assert [(calls.count("close"), calls[-1]) for calls in consumers] == [(1, "close")] * 4
    assert diary.wrong == []
