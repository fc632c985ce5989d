"""Logs that do not have the offset to be read next: told, never skipped in silence."""

from __future__ import annotations

import re

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from integration.scene import MakeScene, Scene, eventually, refusal

SOURCE = """
app.queue("mail", partitions=2, retry=Retry(delays=("100ms",)))

@app.job(queue="mail", key="customer")
def send(ctx: Context, customer: str, number: int) -> None:
    note("end", f"{customer}{number}")

@app.job(queue="mail", key="customer")
def wait(ctx: Context, customer: str, number: int, text: str) -> None:
    note("begin", customer)
    wait_for("go")
    note("end", f"{customer}{number}")
"""
# Keys that lie in partition 0 and in partition 1 of two.
BAD, GOOD = "a", "d"
JOBS = 16_000


def test_deleted_before_a_worker_came(make_scene: MakeScene) -> None:
    # Given a queue whose jobs were done, and six more for each partition
    scene = make_scene(SOURCE)
    done = [*enqueue(scene, BAD, 2), *enqueue(scene, GOOD, 2)]
    assert scene.worker("--drain").wait() == 0
    bad, good = enqueue(scene, BAD, 6, begin=2), enqueue(scene, GOOD, 6, begin=2)

    # When the first four of one partition are deleted before a worker comes
    delete(scene, 0, 6)
    worker = scene.worker("--http", "0")

    # Then it says which, counts them, and runs what is left, of the other partition too
    left = {*done, *good, *bad[4:]}
    eventually(lambda: set(scene.noted("end")) == left, "what is left has run")
    assert f"offsets 2 to 5 of {scene.name}.mail[0] were deleted" in worker.errors
    assert "up to 4 jobs" in worker.errors
    assert worker.metrics()['streamjobs_jobs_deleted_total{queue="mail"}'] == 4.0
    assert worker.stop() == 0, worker.errors
    assert scene.lag() == 0
    assert set(scene.noted("end").values()) == {1}


def test_deleted_under_a_worker(make_scene: MakeScene) -> None:
    # Given a worker that is behind: its jobs wait for a signal, and there are more than it holds:
    # 2,000 in hand, up to 1,000 in each of some polls before it pauses, 8 MiB in its client
    scene = make_scene(SOURCE)
    calls = (scene.job("wait").call(BAD, number, "x" * 4_000) for number in range(JOBS))
    scene.app.enqueue_many(calls)
    worker = scene.worker("--http", "0")
    eventually(lambda: scene.noted("begin"), "its first job has begun")
    held = 'streamjobs_records_received_total{queue="mail"}'
    eventually(lambda: worker.metrics().get(held, 0) >= 2000, "it is full")

    # When all but the last ten are deleted, and it goes on
    delete(scene, 0, JOBS - 10)
    scene.signal("go")

    # Then the last ten run, each that it had received has run once, and the rest is told
    ids = [f"{BAD}{number}" for number in range(JOBS)]
    eventually(lambda: set(ids[-10:]) <= set(scene.noted("end")), "the last have run")
    told = re.search(rf"offsets (\d+) to {JOBS - 11} of \S+ were deleted", worker.errors)
    assert told is not None, worker.errors
    assert set(scene.noted("end")) == {*ids[: int(told[1])], *ids[-10:]}
    assert worker.stop() == 0, worker.errors
    assert set(scene.noted("end").values()) == {1}
    assert scene.lag() == 0


def test_an_offset_beyond_the_end_of_the_log(make_scene: MakeScene) -> None:
    # Given a group whose offset of one partition is beyond its end, as after a log was cut off
    scene = make_scene(SOURCE)
    bad, good = enqueue(scene, BAD, 3), enqueue(scene, GOOD, 3)
    commit(scene, 0, 1_000)

    # When a worker comes
    worker = scene.worker("--http", "0")

    # Then that partition stands still, with the reason and the remedy, and the other goes on
    eventually(lambda: "stands still" in worker.errors, "it is told")
    told = refusal(worker)
    for part in (f"{scene.name}.mail[0]", "ends at 3", "offset 1000", "--from earliest"):
        assert part in told
    assert "ERROR" in worker.errors
    eventually(lambda: set(scene.noted("end")) == set(good), "the other goes on")
    assert worker.stop() == 0, worker.errors

    # And when it is told to begin anew, all of it runs
    second = scene.worker("--from", "earliest", "--drain")
    assert second.wait() == 0, second.errors
    assert scene.noted("end") == dict.fromkeys([*bad, *good], 1)
    assert scene.lag() == 0
    assert scene.worker("--drain").wait() == 0, "it is all right again"


def test_offsets_that_have_expired(make_scene: MakeScene) -> None:
    # Given a queue whose group's offsets are gone, and whose log has lost its beginning
    scene = make_scene(SOURCE)
    enqueue(scene, BAD, 4)
    assert scene.worker("--drain").wait() == 0
    client = AdminClient({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    client.delete_consumer_groups([f"{scene.name}.mail"])[f"{scene.name}.mail"].result(10)
    delete(scene, 0, 2)

    # When a worker comes, then it refuses to guess, and says what makes it begin
    refused = scene.worker("--drain")
    assert refused.wait() == 1
    assert f"{scene.name}.mail[0] begins at 2" in refused.errors
    assert "worker --from earliest" in refused.errors
    again = scene.worker("--drain", "--from", "earliest")
    assert again.wait() == 0, again.errors
    assert sorted(scene.noted("end").values()) == [1, 1, 2, 2]


def test_an_offset_that_expired_holds_up_its_partition_alone(make_scene: MakeScene) -> None:
    # Given a group that has an offset of one of two partitions, and the other lost its beginning
    scene = make_scene(SOURCE)
    bad, good = enqueue(scene, BAD, 4), enqueue(scene, GOOD, 4)
    commit(scene, 1, 0)
    delete(scene, 0, 2)

    # When a worker comes
    worker = scene.worker("--http", "0")

    # Then the one stands still, with the reason and the remedy, and the other goes on
    eventually(lambda: set(scene.noted("end")) == set(good), "the other goes on")
    told = eventually(lambda: refusal(worker), "it is not ready")
    for part in (
        "partition 0 stands still",
        f"{scene.name}.mail[0] begins at 2",
        "--from earliest",
    ):
        assert part in told
    assert "ERROR" in worker.errors
    assert worker.stop() == 0, worker.errors

    # And when it is told to begin with what is left, that runs, and nothing else again
    assert scene.worker("--drain", "--from", "earliest").wait() == 0
    assert scene.noted("end") == dict.fromkeys([*good, *bad[2:]], 1)
    assert scene.lag() == 0


def enqueue(scene: Scene, key: str, count: int, *, begin: int = 0) -> list[str]:
    """Jobs of a key, and what they note."""
    numbers = range(begin, begin + count)
    scene.app.enqueue_many(scene.job("send").call(key, number) for number in numbers)
    return [f"{key}{number}" for number in numbers]


def delete(scene: Scene, partition: int, before: int) -> None:
    client = AdminClient({"bootstrap.servers": scene.app.settings.bootstrap_servers})
    for future in client.delete_records(
        [TopicPartition(f"{scene.name}.mail", partition, before)]
    ).values():
        future.result(10)


def commit(scene: Scene, partition: int, offset: int) -> None:
    """Set an offset of the group, as an operator would."""
    name = f"{scene.name}.mail"
    consumer = Consumer(
        {
            "bootstrap.servers": scene.app.settings.bootstrap_servers,
            "group.id": name,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(name, partition)])
    consumer.commit(offsets=[TopicPartition(name, partition, offset)], asynchronous=False)
    consumer.close()
