from __future__ import annotations

from pathlib import Path

from chaos.hits import Hits

from streamjobs.failpoints import HIT_BYTES, Failpoints


def test_hits_are_read_on_as_they_are_written(tmp_path: Path) -> None:
    hits = Hits(tmp_path / "hits")
    assert hits.read_on() == []

    points = Failpoints(str(hits.path))
    points.hit("cycle.taken")
    assert [hit.name for hit in hits.read_on()] == ["cycle.taken"]
    points.hit("txn.begun")
    points.hit("txn.produced")

    assert [(hit.name, hit.action) for hit in hits.read_on()] == [
        ("txn.begun", "-"),
        ("txn.produced", "-"),
    ]
    assert hits.read_on() == []
    assert len(hits.all) == 3


def test_half_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    hits = Hits(tmp_path / "hits")
    line = b"cycle.taken 7 99 kill".ljust(HIT_BYTES - 1) + b"\n"

    hits.path.write_bytes(line + line[:20])
    assert len(hits.read_on()) == 1
    hits.path.write_bytes(line + line)

    (hit,) = hits.read_on()
    assert (hit.pid, hit.at, hit.action) == (7, 99, "kill")
