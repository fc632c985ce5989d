"""pytest fixtures: brokers and names for tests, yours as well as ours.

In the top ``conftest.py``: ``pytest_plugins = ["streamjobs.testing"]``. What the environment says:

``STREAMJOBS_TEST_BOOTSTRAP``
    an Apache Kafka that runs already, for ``kafka_broker``
``STREAMJOBS_TEST_PROTOCOLS``
    ``classic,consumer``: tests that use ``group_protocol`` run once with each
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
    given = getattr(request, "param", None)
    turn = zlib.crc32(request.node.nodeid.encode()) % len(_PROTOCOLS)
    return cast("GroupProtocol", given) if given else _PROTOCOLS[turn]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses ``group_protocol`` with every protocol the environment names."""
    wanted = os.environ.get("STREAMJOBS_TEST_PROTOCOLS", "")
    if "group_protocol" not in metafunc.fixturenames or not wanted:
        return
    protocols = [name.strip() for name in wanted.split(",")]
    for name in protocols:
        if name not in _PROTOCOLS:
            raise pytest.UsageError(
                f"STREAMJOBS_TEST_PROTOCOLS={wanted}: {name!r} is no group protocol, "
                f"use {' or '.join(_PROTOCOLS)}"
            )
    metafunc.parametrize("group_protocol", protocols, indirect=True)


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
