"""The HTTP side as a running server: real sockets on loopback, no broker."""

from __future__ import annotations

import signal
import socket
import threading

import httpx
import pytest
from prometheus_client import CollectorRegistry

from streamjobs.errors import SettingsError
from streamjobs.observe.http import Server, serve


def start(port: int = 0) -> Server:
    return serve(
        "127.0.0.1",
        port,
        live=lambda: (True, ""),
        ready=lambda: (False, "starting"),
        registry=CollectorRegistry(),
    )


def test_it_answers_on_the_port_it_picked_and_frees_it_when_stopped() -> None:
    server = start()
    try:
        base = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{base}/healthz").status_code == 200
        assert httpx.get(f"{base}/readyz").json() == {"ok": False, "reason": "starting"}
    finally:
        server.stop()
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/healthz")
    assert "streamjobs-http" not in {thread.name for thread in threading.enumerate()}


def test_a_port_in_use_is_a_settings_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} .*in use.*another port"):
            start(port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_a_settings_error(port: int) -> None:
    with pytest.raises(SettingsError, match=f"127\\.0\\.0\\.1:{port}"):
        start(port)


def test_signals_stay_with_the_program() -> None:
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    server = start()
    try:
        httpx.get(f"http://127.0.0.1:{server.port}/healthz")
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    finally:
        server.stop()
