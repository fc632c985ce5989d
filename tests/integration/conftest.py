from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from integration.scene import MakeScene, Scene, scene_of

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
