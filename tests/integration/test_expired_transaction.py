"""A worker stands still inside a transaction for longer than the broker lets it be open.

The broker ends the transaction, and its producer is used up: fenced, for good. Whether the worker
is still a member of its group when it wakes depends on how long its session is.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

from integration.scene import MakeScene, Scene, WorkerProcess, eventually

from streamjobs.errors import BrokerUnavailable
from streamjobs.failpoints import VARIABLE
from streamjobs.kafka.admin import Admin
from streamjobs.testing import GroupProtocol

SOURCE = """
from streamjobs.kafka import config

# As long as a transaction may be open, which three workers that start at once must not need; the
# client wants deliveries to give up before that.
if IN_WORKER:
    config.TRANSACTION_TIMEOUT_MS, config.DELIVERY_TIMEOUT_MS = 8_000, 7_500

jobs = {}
for name in ("member", "sent", "expelled"):
    app.queue(name, partitions=1, retry=Retry(delays=("100ms",)))

    @app.job(queue=name, name="job_" + name)
    def job(ctx: Context) -> None:
        note("start", ctx.job_id, ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("not yet")
        note("end", ctx.job_id)

    jobs[name] = job
"""


class Case(NamedTuple):
    """How a worker is stopped, and what is left of its membership when it wakes.

    Attributes:
        point: where in its transaction.
        session: of its group, milliseconds.
        attempts: those that its job makes: one that nobody remembers is made again.
    """

    point: str
    session: int
    attempts: list[int]


CASES = {
    "member": Case("txn.produced", 60_000, [1, 2]),
    "sent": Case("txn.offsets-sent", 60_000, [1, 2]),
    "expelled": Case("txn.offsets-sent", 6_000, [1, 1, 2]),
}


def begin(scene: Scene, name: str, case: Case, protocol: GroupProtocol) -> WorkerProcess:
    more = {VARIABLE: f"{hits(scene, name)};{case.point}=stop@1"}
    if protocol == "classic":
        more["STREAMJOBS_KAFKA_SESSION_TIMEOUT_MS"] = str(case.session)
    else:
        with Admin(scene.app.settings) as admin:
            admin.set_session_timeout([f"{scene.name}.{name}"], case.session)
    return scene.worker(queue=name, **more)


def hits(scene: Scene, name: str) -> Path:
    return scene.folder / f"{name}.hits"


def stand_still(scene: Scene) -> bool:
    texts = [hits(scene, name).read_text() for name in CASES if hits(scene, name).exists()]
    return len(texts) == len(CASES) and all(" stop" in text for text in texts)


def test_it_goes_on_with_another_producer_and_moves_each_job_once(
    make_scene: MakeScene, group_protocol: GroupProtocol
) -> None:
    # Given workers that stand still inside of a transaction
    scene = make_scene(SOURCE)
    jobs = {name: scene.job("jobs")[name] for name in CASES}
    ids = {name: job.enqueue().id for name, job in jobs.items()}
    workers = {name: begin(scene, name, case, group_protocol) for name, case in CASES.items()}
    eventually(lambda: stand_still(scene), "they stand still")

    # When the broker has ended their transactions, and the session of one
    tiers = [(f"{scene.name}.{name}.retry.100ms", 0) for name in CASES]
    with Admin(scene.app.settings) as admin:

        def ended() -> bool:
            return all(log.end == 2 for log in admin.watermarks(tiers).values())

        def members() -> list[int | None]:
            try:
                return [admin.members(f"{scene.name}.{name}") for name in CASES]
            except BrokerUnavailable:
                return []  # a coordinator that is busy: asked again

        eventually(ended, "behind each record stands the mark of its transaction's end")
        eventually(lambda: members() == [1, 1, 0], "one is no member any more")
    for worker in workers.values():
        worker.signal(signal.SIGCONT)

    # Then for each one cycle has failed, with a producer that is used up, and it goes on. Who is no
    # member any more may have been refused before that, if it asked before it was told
    eventually(lambda: set(scene.noted("end")) == set(ids.values()), "all have ended")
    for name, worker in workers.items():
        failed = [line for line in worker.errors.splitlines() if "a commit cycle of" in line]
        assert len(failed) == 1 or name == "expelled", worker.errors
        assert "the producer is used up" in failed[0]

    # And no attempt was made but those that nobody remembers, and each job was moved once
    made = {
        name: [int(w[2]) for w in scene.journal if w[:2] == ["start", i]] for name, i in ids.items()
    }
    assert made == {name: case.attempts for name, case in CASES.items()}
    assert [len(scene.records(f"{name}.retry.100ms")) for name in CASES] == [1] * len(CASES)
    assert all(worker.stop() == 0 for worker in workers.values())
    assert scene.noted("end") == dict.fromkeys(ids.values(), 1)
