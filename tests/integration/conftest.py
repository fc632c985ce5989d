from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.scene import MakeScene, Scene, long_session, long_sessions, scene_of

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol


@pytest.fixture
def make_scene(
    kafka_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Iterator[MakeScene]:
    """Make a scene from the source of its module; everything of it ends with the test.

    Its workers' groups are of the kind that the test runs with; one that is about one kind alone is
    marked ``only_protocol``, or it would run twice with the same one.
    """
    with ExitStack() as stack:

        def make(source: str, **settings: str) -> Scene:
            fixed = settings.get("group_protocol", group_protocol)
            assert fixed == group_protocol, f"mark the test only_protocol({fixed!r}, why=...)"
            chosen = {"group_protocol": group_protocol, **settings}
            folder, where = tmp_path, kafka_broker.bootstrap
            return stack.enter_context(
                scene_of(source, folder=folder, name=app_name, bootstrap=where, **chosen)
            )

        yield make


@pytest.fixture
def make_cluster_scene(
    kafka_cluster: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Iterator[MakeScene]:
    """Make a scene on three nodes, for tests that take one away.

    Its group remembers who stood still for up to 45 s: the next coordinator takes a while to come,
    and no attempt may be made twice for that.
    """
    with ExitStack() as stack:

        def make(source: str, **settings: str) -> Scene:
            chosen = {"group_protocol": group_protocol, **long_sessions(group_protocol), **settings}
            folder, where = tmp_path, kafka_cluster.bootstrap
            scene = stack.enter_context(
                scene_of(source, folder=folder, name=app_name, bootstrap=where, **chosen)
            )
            long_session(scene)
            return scene

        yield make
