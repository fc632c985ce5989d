from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

# Plain modules beside the tests; importmode=importlib adds no folder to the path.
sys.path.insert(0, str(Path(__file__).parent))

from scene import Scene, scene_of

MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene(
    kafka_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> Iterator[MakeScene]:
    """Make a scene from the source of its module; everything of it ends with the test."""
    with ExitStack() as stack:

        def make(source: str, **settings: str) -> Scene:
            chosen = {"group_protocol": group_protocol, **settings}
            folder, where = tmp_path, kafka_broker.bootstrap
            return stack.enter_context(
                scene_of(source, folder=folder, name=app_name, bootstrap=where, **chosen)
            )

        yield make
