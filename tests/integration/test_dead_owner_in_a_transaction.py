"""A worker killed inside a transaction: its jobs run elsewhere long before that would expire."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration.scene import MakeScene, eventually

from streamjobs.clock import monotonic
from streamjobs.kafka.cycle import TRANSACTION_TIMEOUT_MS

SOURCE = """
app.queue("mail", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str) -> None:
    note("start", customer)
    if customer == "bad" and ctx.attempt == 1:
        raise ValueError("the first time")
    note("end", customer)
"""


# Before its offsets were sent only the tier's end is hidden; after it the offsets are not stable.
@pytest.mark.parametrize("point", ["txn.produced", "txn.offsets-sent"])
def test_the_next_owner_ends_it(make_scene: MakeScene, tmp_path: Path, point: str) -> None:
    # Given a worker that dies while it moves a failed job to its tier
    scene = make_scene(SOURCE, group_protocol="classic")
    member = {"STREAMJOBS_GROUP_INSTANCE_ID": "owner"}
    first = scene.worker(**member, STREAMJOBS_FAILPOINTS=f"{tmp_path / 'hits'};{point}=kill@1")
    scene.job("send").enqueue(customer="bad")
    first.process.wait(30)

    # When another takes its place
    scene.job("send").enqueue(customer="good")
    second = scene.worker("--log-level", "info", **member)
    eventually(lambda: "assigned" in second.errors, "it joins")
    joined = monotonic()
    eventually(lambda: len(scene.noted("end")) == 2, "both have run")
    took = monotonic() - joined

    # Then it ends that transaction, and does not wait for its time
    assert "whose worker is gone; it is ended" in second.errors
    assert took < TRANSACTION_TIMEOUT_MS / 1000 / 2
    assert second.stop() == 0
    assert scene.noted("end") == {"good": 1, "bad": 1}
