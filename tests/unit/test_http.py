"""The health and metrics pages, asked through the application without a socket."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter
from starlette.testclient import TestClient

from streamjobs.observe.http import build


def client(
    *, live: tuple[bool, str] = (True, ""), ready: tuple[bool, str] = (True, "")
) -> TestClient:
    registry = CollectorRegistry()
    Counter("streamjobs_things", "Things.", registry=registry).inc(3)
    return TestClient(build(live=lambda: live, ready=lambda: ready, registry=registry))


def test_a_live_and_ready_worker_answers_200() -> None:
    with client(ready=(True, "consuming")) as http:
        alive, ready = http.get("/healthz"), http.get("/readyz")
    assert (alive.status_code, ready.status_code) == (200, 200)
    assert ready.json() == {"ok": True, "reason": "consuming"}


def test_a_worker_without_partitions_is_alive_but_not_ready_and_says_why() -> None:
    with client(ready=(False, "no broker at 127.0.0.1:9")) as http:
        assert http.get("/healthz").status_code == 200
        refused = http.get("/readyz")
    assert refused.status_code == 503
    assert refused.json() == {"ok": False, "reason": "no broker at 127.0.0.1:9"}


def test_a_dead_loop_is_not_live() -> None:
    with client(live=(False, "the loop has not polled for 61 s")) as http:
        assert http.get("/healthz").status_code == 503


def test_metrics_come_in_the_text_format_by_default_and_openmetrics_when_asked() -> None:
    with client() as http:
        text = http.get("/metrics")
        openmetrics = http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert "streamjobs_things_total 3.0" in text.text
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_there_is_nothing_else_and_nothing_can_be_written() -> None:
    with client() as http:
        assert http.get("/").status_code == 404
        assert http.post("/healthz").status_code == 405
