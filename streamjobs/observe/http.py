"""The worker's small HTTP side: is it alive, is it ready, and its metrics."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streamjobs.errors import SettingsError

Probe = Callable[[], tuple[bool, str]]
"""Says whether it holds, and why (not). Called on the server's event loop: it must not block."""

_STOP_SECONDS = 5.0
_LAST_PORT = 65_535


class Server:
    """A running HTTP server in a thread of its own.

    Attributes:
        host: what it is bound to.
        port: the port it got, also when 0 was asked for.
    """

    def __init__(self, app: Starlette, listener: socket.socket) -> None:
        self.host, self.port = listener.getsockname()[:2]
        # In a thread other than the main one uvicorn leaves the signals alone; no log_config, so
        # that the program's own logging stays as it is.
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, args=([listener],), name="streamjobs-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and end the thread; calling it again does nothing.

        Raises:
            TimeoutError: when the thread does not end, because a probe hangs.
        """
        self._uvicorn.should_exit = True
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(
                f"the HTTP server on port {self.port} did not stop in {_STOP_SECONDS:g} s: "
                "a health check or a metric hangs"
            )


def build(*, live: Probe, ready: Probe, registry: CollectorRegistry) -> Starlette:
    """Return the application behind ``/healthz``, ``/readyz`` and ``/metrics``.

    The first two answer 200 or 503 and ``{"ok": bool, "reason": str}``.
    """

    async def healthz(_: Request) -> Response:
        return _answer(live)

    async def readyz(_: Request) -> Response:
        return _answer(ready)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    live: Probe,
    ready: Probe,
    registry: CollectorRegistry,
) -> Server:
    """Serve the three pages from a background thread.

    Args:
        host: the address to bind to; the default is reached from this machine only.
        port: 0 picks a free one.
        live: whether the process still does its work (``/healthz``).
        ready: whether it can take work now (``/readyz``).
        registry: what ``/metrics`` shows, in the format the client asks for.

    Raises:
        SettingsError: the address cannot be bound, for one because the port is in use.
    """
    return Server(build(live=live, ready=ready, registry=registry), _listen(host, port))


def _answer(probe: Probe) -> Response:
    ok, reason = probe()
    return JSONResponse({"ok": ok, "reason": reason}, status_code=200 if ok else 503)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        raise SettingsError(f"HTTP address {host}:{port}: a port is 0 (any free one) to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # create_server puts the address into its text; a resolver's errors have negative numbers.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error)
        raise SettingsError(
            f"HTTP address {host}:{port} cannot be had ({why}): "
            "choose another port, or 0 to have a free one picked"
        ) from error
