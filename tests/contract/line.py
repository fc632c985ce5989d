"""A line to a broker of one node: what clients send or are answered can be held up."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

_TAKE = 65_536
_LENGTH = struct.Struct(">i")


class Line:
    """Passes on what clients and the broker say to each other; a context manager.

    Clients go to where the broker says that it is. So in its answers the place of the broker is
    replaced by the line's, which is as long.

    Args:
        bootstrap: ``host:port`` of the broker, as it tells it itself.
    """

    def __init__(self, bootstrap: str) -> None:
        self._host, port = bootstrap.split(":")
        self._port = int(port)
        self._asks, self._answers = threading.Event(), threading.Event()
        self.let_go()
        self._listener = socket.create_server((self._host, 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    @property
    def bootstrap(self) -> str:
        """Where clients of this line find the broker."""
        return f"{self._host}:{self._own_port}"

    def hold(self) -> None:
        """Pass on nothing more of what clients send."""
        self._asks.clear()

    def hold_answers(self) -> None:
        """Pass on nothing more of what the broker says."""
        self._answers.clear()

    def let_go(self) -> None:
        """Pass on what was held, in its order, and all that follows."""
        self._asks.set()
        self._answers.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        _end(self._listener, *self._sockets)
        for thread in self._threads:
            thread.join(10)
        for each in [self._listener, *self._sockets]:
            each.close()

    @property
    def _own_port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def _run(self, act: Callable[..., None], *given: socket.socket) -> None:
        thread = threading.Thread(target=self._until_closed, args=(act, *given), daemon=True)
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _until_closed(act: Callable[..., None], *given: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            act(*given)
        _end(*given)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            broker = socket.create_connection((self._host, self._port))
            self._sockets += [client, broker]
            self._run(self._asked, client, broker)
            self._run(self._answered, broker, client)

    def _asked(self, client: socket.socket, broker: socket.socket) -> None:
        while asked := client.recv(_TAKE):
            self._asks.wait()
            broker.sendall(asked)
        raise EOFError

    def _answered(self, broker: socket.socket, client: socket.socket) -> None:
        host = self._host.encode()
        place, own = (host + _LENGTH.pack(port) for port in (self._port, self._own_port))
        while True:
            length = _exactly(broker, _LENGTH.size)
            answer = _exactly(broker, _LENGTH.unpack(length)[0])
            self._answers.wait()
            client.sendall(length + answer.replace(place, own))


def _end(*sockets: socket.socket) -> None:
    """End connections, so that whoever waits for something of them goes on: closing does not."""
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _exactly(source: socket.socket, count: int) -> bytes:
    taken = bytearray()
    while len(taken) < count:
        more = source.recv(count - len(taken))
        if not more:
            raise EOFError
        taken += more
    return bytes(taken)
