"""Partitions that somebody added to a queue's topics: nothing of them is taken or fetched."""

from __future__ import annotations

from collections.abc import Callable

from unit.engine.drive import LONG, MAIN, SHORT, Driver, FakeMessage


def test_a_partition_that_is_not_the_queues_waits_however_whole_its_shard_is(
    make_driver: Callable[..., Driver],
) -> None:
    # given a queue of two partitions, whose topics all have a third one by now
    engine = make_driver(partitions=2).engine
    # when the group gives us the second and the third
    engine.assigned([(topic, number) for number in (1, 2) for topic in (MAIN, SHORT, LONG)])
    # then only the queue's own is taken, and nothing more is fetched of the other
    assert engine.take_questions() == [1]
    assert sorted(engine.take_flow().pause) == sorted([(MAIN, 2), (SHORT, 2), (LONG, 2)])
    # and what came of it meanwhile neither starts nor is committed
    engine.received([FakeMessage(MAIN, 0, b"k", partition_=2)], 0.0)
    assert engine.take_starts() == []
    assert engine.cycle(everything=True) is None
    # and it can be taken away again
    engine.revoked([(topic, 2) for topic in (MAIN, SHORT, LONG)])
