"""pytest fixtures: brokers and names for tests, yours as well as ours.

In the top ``conftest.py``: ``pytest_plugins = ["streamjobs.testing"]``. What the environment says:

``STREAMJOBS_TEST_BOOTSTRAP``
    an Apache Kafka that runs already, for ``kafka_broker``
``STREAMJOBS_TEST_PROTOCOLS``
    ``classic,consumer``: tests that use ``group_protocol`` run once with each; those marked
    ``@pytest.mark.only_protocol("classic", why="...")`` once, with the one they are about
``CI``
    ``true``: without a way to Apache Kafka its tests fail; otherwise they are skipped
"""

from __future__ import annotations

import os
import re
import uuid
import zlib
from collections.abc import Iterator
from typing import Literal, cast, get_args

import pytest

from streamjobs.kafka.brokers import Broker, start_broker, why_no_kafka

GroupProtocol = Literal["classic", "consumer"]

_PROTOCOLS: tuple[GroupProtocol, ...] = get_args(GroupProtocol)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """One Apache Kafka node, shared by the whole run: use ``app_name`` to keep out of the way."""
    need_kafka(nodes=1)
    with start_broker("kafka") as broker:
        yield broker


@pytest.fixture(scope="module")
def kafka_cluster() -> Iterator[Broker]:
    """Three Apache Kafka nodes, which a test may ``kill``, ``stop`` and ``start``."""
    need_kafka(nodes=3)
    with start_broker("kafka", nodes=3) as broker:
        yield broker


@pytest.fixture
def embedded_broker() -> Iterator[Broker]:
    """The broker inside librdkafka, a new one for each test; mind its limits."""
    with start_broker("embedded") as broker:
        yield broker


@pytest.fixture(params=["embedded", "kafka"])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    """The same test on both engines."""
    broker: Broker = request.getfixturevalue(f"{request.param}_broker")
    return broker


@pytest.fixture
def app_name(request: pytest.FixtureRequest) -> str:
    """An app name that no other test and no earlier run has: topics and groups begin with it."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:32].strip("-")
    return f"t-{slug}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def group_protocol(request: pytest.FixtureRequest) -> GroupProtocol:
    """Classic or KIP-848 groups: in turn from test to test, each test always the same.

    With ``STREAMJOBS_TEST_PROTOCOLS`` the test runs once with each protocol it names.
    """
    if given := getattr(request, "param", None):
        return cast("GroupProtocol", given)
    if (only := _only(request.node)) is not None:
        return only[0]
    return _PROTOCOLS[zlib.crc32(request.node.nodeid.encode()) % len(_PROTOCOLS)]


def pytest_configure(config: pytest.Config) -> None:
    """Make our mark known."""
    config.addinivalue_line(
        "markers",
        "only_protocol(protocol, why): of classic or KIP-848 (consumer) groups the test is about "
        "this kind alone, for that reason",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses ``group_protocol`` with every protocol the environment names."""
    wanted = os.environ.get("STREAMJOBS_TEST_PROTOCOLS", "")
    if "group_protocol" not in metafunc.fixturenames or not wanted:
        return
    protocols = [
        _checked(name.strip(), f"STREAMJOBS_TEST_PROTOCOLS={wanted}") for name in wanted.split(",")
    ]
    if (only := _only(metafunc.definition)) is not None:
        protocol, why = only
        skip = [] if protocol in protocols else [pytest.mark.skip(reason=f"{protocol} only: {why}")]
        metafunc.parametrize("group_protocol", [pytest.param(protocol, marks=skip)], indirect=True)
        return
    metafunc.parametrize("group_protocol", protocols, indirect=True)


def _only(test: pytest.Item) -> tuple[GroupProtocol, str] | None:
    """The one kind of group that a test is about, where it is marked so, and why."""
    mark = test.get_closest_marker("only_protocol")
    if mark is None:
        return None
    return _checked(mark.args[0], f"the mark of {test.name}"), mark.kwargs["why"]


def _checked(name: str, where: str) -> GroupProtocol:
    if name not in _PROTOCOLS:
        raise pytest.UsageError(
            f"{where}: {name!r} is no group protocol, use {' or '.join(_PROTOCOLS)}"
        )
    return name


def need_kafka(*, nodes: int = 1, own: bool = False) -> None:
    """Skip the test without a way to Apache Kafka; with ``CI=true``, fail it.

    Args:
        nodes: 1, or 3: then they have to be processes of our own.
        own: whether one node has to be one as well, for ``start_broker(properties=...)``.
    """
    reason = why_no_kafka(nodes, own=own)
    if reason is None:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
