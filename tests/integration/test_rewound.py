"""An operator moves a group's offset, or another program commits in it, while no worker runs."""

from __future__ import annotations

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from integration.scene import MakeScene, Scene, eventually

from streamjobs.client import JobRef
from streamjobs.kafka.config import admin_config, consumer_config

SOURCE = """
jobs = {}
for name in ("beginning", "middle", "forwards", "foreign"):
    app.queue(name, partitions=1, retry=Retry(delays=("20s",)))

    @app.job(queue=name, name="job_" + name, key="customer")
    def job(ctx: Context, customer: str, number: int) -> None:
        note("start", ctx.job_id, ctx.attempt)
        if number == 3 and ctx.attempt == 1:
            raise ValueError("not yet")
        note("end", ctx.job_id)

    jobs[name] = job
"""
# By number, which is the offset. The fourth fails and is parked, with the one behind it.
CUSTOMERS = ("ann", "ann", "ann", "bob", "ann", "ann", "bob")
PARKED, LATER = (3, 6), (7, 8, 9)
TEXT = "checkpoint 17"
# Where each group's offset is moved to.
TO = {"beginning": 0, "middle": 4, "forwards": 9, "foreign": 5}


def test_it_goes_on_there_and_nothing_that_is_parked_is_doubled(make_scene: MakeScene) -> None:
    # Given queues with jobs that have ended and two that are parked, and no worker any more
    scene = make_scene(SOURCE)
    ids = {name: [enqueue(scene, name, n, c) for n, c in enumerate(CUSTOMERS)] for name in TO}
    queues = [word for name in list(TO)[1:] for word in ("-q", name)]
    first = scene.worker(*queues, queue=next(iter(TO)))
    ended = {ids[name][n] for name in TO for n, c in enumerate(CUSTOMERS) if c == "ann"}
    eventually(lambda: scene.noted("end").keys() == ended, "those of one key have ended")
    eventually(lambda: all(len(in_tier(scene, name)) == 2 for name in TO), "two are parked")
    assert first.stop() == 0, first.errors
    before = len(scene.journal)

    # When the groups' offsets are moved, and a worker comes
    for name, to in TO.items():
        ids[name] += [enqueue(scene, name, n, "ann") for n in LATER]
        move = commit_as_another_program if name == "foreign" else alter
        move(scene, name, to)
    second = scene.worker("--drain", *queues, queue=next(iter(TO)))
    assert second.wait() == 0, second.errors

    # Then what is parked runs once, as it would have, and all else from there on, again or not,
    # each key's in their order
    starts = [words[1] for words in scene.journal[before:] if words[0] == "start"]
    for name, to in TO.items():
        begun = [ids[name].index(i) for i in starts if i in ids[name]]
        assert [n for n in begun if n in PARKED] == list(PARKED)
        rest = [n for n in range(to, LATER[-1] + 1) if n not in PARKED]
        assert [n for n in begun if n not in PARKED] == rest

    # And there is one record of each that was parked, and no dead letter
    assert {name: in_tier(scene, name) for name in TO} == {name: list(PARKED) for name in TO}
    assert [scene.dead(name) for name in TO] == [[]] * len(TO)
    assert f"stands {TEXT!r}, which is not of this program" in second.errors


def enqueue(scene: Scene, name: str, number: int, customer: str) -> str:
    ref: JobRef = scene.job("jobs")[name].enqueue(customer=customer, number=number)
    assert ref.offset == number
    return ref.id


def in_tier(scene: Scene, name: str) -> list[int]:
    """The numbers of the jobs that were moved to the tier: their offsets in the main topic."""
    origins = (dict(x.headers)["sj-origin"] for x in scene.records(f"{name}.retry.20s"))
    return sorted(int((origin or b"").rpartition(b":")[2]) for origin in origins)


def alter(scene: Scene, name: str, to: int) -> None:
    """As ``kafka-consumer-groups --reset-offsets`` does it."""
    group = f"{scene.name}.{name}"
    admin = AdminClient(admin_config(scene.app.settings))
    there = ConsumerGroupTopicPartitions(group, [TopicPartition(group, 0, to)])
    admin.alter_consumer_group_offsets([there])[group].result(10)


def commit_as_another_program(scene: Scene, name: str, to: int) -> None:
    group = f"{scene.name}.{name}"
    consumer = Consumer(consumer_config(scene.app.settings, group))
    consumer.commit(offsets=[TopicPartition(group, 0, to, metadata=TEXT)], asynchronous=False)
    consumer.close()
