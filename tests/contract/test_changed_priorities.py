"""Priorities that change while jobs wait: none of those is left behind in silence."""

from __future__ import annotations

import json
from pathlib import Path

from integration.scene import Scene, scene_of

from streamjobs.kafka.brokers import Broker
from streamjobs.testing import GroupProtocol

NONE, BOTH, HIGH = "", 'priorities=("high", "low"),', 'priorities=("high",),'
SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))
app.queue("mail-high", partitions=1, retry=Retry(delays=("100ms",)))

@app.job(queue="mail")
def send(ctx: Context) -> None:
    note("end", ctx.job_id)

@app.job(queue="mail-high")
def other() -> None: ...
"""


def release(scene: Scene, priorities: str) -> None:
    """Have all processes started from now on run code with these priorities."""
    module = scene.folder / f"{scene.module}.py"
    lines = module.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith('app.queue("mail",'))
    lines[at] = f'app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)), {priorities})'
    module.write_text("\n".join(lines) + "\n")


def old_mains(scene: Scene) -> dict[str, int]:
    """What the plan says waits in main topics that are no more, by topic."""
    plan = json.loads(scene.command("topics", "plan", "--json").stdout)
    return {main["topic"]: main["waiting"] for main in plan["old_mains"]}


def refusal(scene: Scene) -> str:
    worker = scene.worker("--drain")
    assert worker.wait() == 1, worker.errors
    assert "Traceback" not in worker.errors
    return worker.errors


def drain(scene: Scene) -> None:
    worker = scene.worker("--drain")
    assert worker.wait() == 0, worker.errors


def enqueue(scene: Scene, *arguments: str) -> str:
    done = scene.command("enqueue", "send", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


def test_a_worker_refuses_until_the_old_topics_are_done(
    kafka_broker: Broker, tmp_path: Path, app_name: str, group_protocol: GroupProtocol
) -> None:
    settings = {"bootstrap": kafka_broker.bootstrap, "group_protocol": group_protocol}
    with scene_of(SOURCE, folder=tmp_path, name=app_name, **settings) as scene:
        # Given jobs in a queue without priorities, and one in a queue whose name looks like one
        main = f"{app_name}.mail"
        ids = {scene.job("send").enqueue().id for _ in range(3)}
        scene.job("other").enqueue()

        # When a release gives it priorities, then its worker names what would never run
        release(scene, BOTH)
        assert old_mains(scene) == {main: 3}
        applied = scene.command("topics", "apply")
        assert applied.returncode == 1
        for said in (applied.stderr, refusal(scene)):
            assert f"topic {main} holds up to 3 jobs of queue 'mail'" in said
            assert "does not exist" not in said
        assert scene.noted("end") == {}

        # When a worker of the release before has run them, then the new one may start
        release(scene, NONE)
        drain(scene)
        release(scene, BOTH)
        assert old_mains(scene) == {main: 0}
        assert f"note: {main}: no priority" in scene.command("topics", "plan").stdout
        ids |= {enqueue(scene, "--priority", "high")}
        drain(scene)
        assert scene.noted("end") == dict.fromkeys(ids, 1)

        # When a priority is dropped whose topic holds a job, then it is that topic which is named
        left = enqueue(scene, "--priority", "low")
        release(scene, HIGH)
        assert old_mains(scene) == {main: 0, f"{main}.low": 1}
        said = refusal(scene)
        assert f"topic {main}.low holds up to 1 job of" in said
        assert f"topic {main} holds" not in said
        assert left not in scene.noted("end")
