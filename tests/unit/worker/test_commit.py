"""The commit cycle against a consumer and a producer that only remember what was asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from unit.engine.drive import (
    DLQ,
    FAILED,
    FAILURE,
    LONG,
    MAIN,
    SHORT,
    TOPICS,
    Driver,
    FakeMessage,
    own,
)

from streamjobs.engine.engine import Engine
from streamjobs.engine.ladder import Ladder
from streamjobs.engine.metadata import read
from streamjobs.engine.outbox import Partition
from streamjobs.engine.results import Rejected, Succeeded
from streamjobs.headers import Origin, Reason, foreign, read_delivery
from streamjobs.kafka.cycle import IdempotentProducer, TransactionalProducer
from streamjobs.kafka.failures import TEXT_TOO_LONG
from streamjobs.kafka.membership import CommitRefused, NotAMember
from streamjobs.kafka.outcome import CycleFailed, LeftOpen
from streamjobs.kafka.rights import GROUP_DENIED, WRITE, lacking, refused_id
from streamjobs.observe.metrics import WorkerMetrics
from streamjobs.worker.commit import CommitCycle, Onward


class FakeError:
    """What the client hands to a commit's callback when the broker refused it."""

    def str(self) -> str:
        return "refused"


@dataclass
class Stand:
    """The driver's engine between a group and a producer that write into one diary."""

    driver: Driver
    diary: list[Any] = field(default_factory=list)
    owned: set[Partition] = field(default_factory=lambda: {(t, 0) for t in (MAIN, SHORT, LONG)})
    member: bool = True
    answers: list[Callable[[Any], None]] = field(default_factory=list)
    send_refusals: list[Exception] = field(default_factory=list)
    commit_refusals: list[Exception] = field(default_factory=list)
    producers: int = 0
    names: list[str] = field(default_factory=list)
    texts: dict[Partition, str] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    coordinators: list[bool] = field(default_factory=list)
    found: dict[Partition, tuple[int, str]] | None = None
    was_committed: Callable[[], bool | None] | None = None
    overdue: bool = False
    on_send: Callable[[], Exception] | None = None

    def __post_init__(self) -> None:
        consumer: Any = self
        self.registry = CollectorRegistry()
        self.cycle = CommitCycle(
            self.driver.engine,
            consumer,
            self.make_producer,
            transactional=True,
            queue="mail",
            worker="w1",
            process="0123456789abcdef",
            metrics=WorkerMetrics(self.registry),
            on_denied=lambda: self.diary.append("denied"),
            overdue=lambda: self.overdue,
        )
        self.kind: type[Any] = TransactionalProducer

    def counted(self, kind: str, result: str) -> float:
        labels = {"queue": "mail", "kind": kind, "result": result}
        return self.registry.get_sample_value("streamjobs_commit_cycles_total", labels) or 0

    # -- as a GroupConsumer ------------------------------------------------------------------

    metadata, group = "metadata", "shop.mail"

    def offsets(self, offsets: dict[Partition, tuple[int, str]]) -> list[Any]:
        if not self.member:
            raise NotAMember("not a member")
        self.texts.update({pair: text for pair, (_, text) in offsets.items()})
        return [(pair, offset) for pair, (offset, _) in offsets.items() if pair in self.owned]

    def coordinated(self, _timeout: float) -> bool:
        return self.coordinators.pop(0) if self.coordinators else True

    def committed(
        self, partitions: Iterable[Partition], _timeout: float
    ) -> dict[Partition, tuple[int, str]] | None:
        self.diary.append(("asked", *partitions))
        return self.found

    def begin_commit(self, offsets: list[Any], done: Callable[[Any], None]) -> None:
        self.diary.append(("begin", dict(offsets)))
        self.answers.append(done)

    def commit(self, offsets: list[Any]) -> None:
        self.diary.append(("commit", dict(offsets)))
        if self.commit_refusals:
            raise self.commit_refusals.pop(0)

    # -- as a maker of producers -------------------------------------------------------------

    def make_producer(self, name: str) -> Any:
        self.names.append(name)
        self.producers += 1
        stand = self

        class Fake(self.kind):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                pass

            def send(self, records: list[Onward], *rest: Any) -> None:
                told = (dict(rest[0]), rest[1]) if rest else ()
                stand.was_committed = rest[2] if rest else None
                stand.diary.append(("send", records, *told))
                if stand.on_send is not None:
                    raise stand.on_send()
                if stand.send_refusals:
                    raise stand.send_refusals.pop(0)

            def missing(self, topics: Iterable[str]) -> set[str]:
                return stand.absent.intersection(topics)

        return Fake()


@pytest.fixture
def stand() -> Stand:
    ladder = Ladder(TOPICS, (MAIN,), {SHORT: 1.0, LONG: 10.0}, (1.0, 10.0), {MAIN: "T"})
    driver = Driver(Engine(ladder))
    own(driver.engine, 0)
    return Stand(driver)


def kinds(stand: Stand) -> list[str]:
    return [entry[0] for entry in stand.diary]


def test_what_only_completes_is_a_plain_commit_that_nobody_waits_for(stand: Stand) -> None:
    stand.driver.main(0, 1)
    stand.driver.finish(0)

    assert stand.cycle.run()

    assert stand.diary == [("begin", {(MAIN, 0): 1})]
    states = [(stand.cycle.under_way, stand.counted("plain", "committed"))]
    stand.answers[0](None)
    states.append((stand.cycle.under_way, stand.counted("plain", "committed")))
    assert states == [(True, 0), (False, 1)]


def test_one_plain_commit_is_under_way_at_a_time(stand: Stand) -> None:
    stand.driver.main(0, 1)
    stand.driver.finish(0)
    stand.cycle.run()
    stand.driver.finish(1)

    assert stand.cycle.run()
    assert len(stand.diary) == 1

    stand.answers[0](None)
    stand.cycle.run()
    assert stand.diary[1:] == [("begin", {(MAIN, 0): 2})]


def test_a_commit_that_is_waited_for_is_not_made_before_the_coordinator_answers(
    stand: Stand,
) -> None:
    # Given a job that has ended, and a coordinator that is away, for which a commit would wait long
    stand.driver.main(0)
    stand.driver.finish(0)
    stand.coordinators = [False]

    # When a commit is made that is waited for, then it is not, until there is one
    assert not stand.cycle.run(wait=True)
    assert (stand.diary, stand.cycle.member) == ([], True)
    assert stand.cycle.run(wait=True)
    assert stand.diary == [("commit", {(MAIN, 0): 1})]


def test_a_refused_plain_commit_is_made_again(stand: Stand) -> None:
    stand.driver.main(0)
    stand.driver.finish(0)
    stand.cycle.run()

    stand.answers[0](FakeError())
    stand.cycle.run()

    assert stand.diary == [("begin", {(MAIN, 0): 1})] * 2
    assert stand.counted("plain", "failed") == 1


def test_brokers_that_keep_too_little_beside_an_offset_are_an_alarm_until_they_are_mended(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    # given two commits that are refused for what stands beside the offset
    stand.driver.main(0)
    stand.driver.finish(0)
    stand.commit_refusals = [CommitRefused(TEXT_TOO_LONG) for _ in range(2)]
    for _ in range(2):
        stand.cycle.run(wait=True)
    # then it is told once, with what mends it, and is over with the first that is taken
    (alarm,) = stand.cycle.alarms
    assert "set offset.metadata.max.bytes=4096" in alarm
    assert caplog.text.count(alarm) == 1
    stand.cycle.run(wait=True)
    assert stand.cycle.alarms == ()


def test_before_a_drain_ends_the_word_of_the_broker_is_waited_for(stand: Stand) -> None:
    stand.driver.main(0)
    stand.driver.finish(0)
    stand.cycle.run()

    assert stand.cycle.run(wait=True)

    assert stand.diary[1:] == [("commit", {(MAIN, 0): 1})]
    assert stand.counted("plain", "committed") == 1


def test_a_move_its_headers_and_its_offset_are_one_transaction(stand: Stand) -> None:
    headers = (("x", b"theirs"), ("sj-attempt", b"77"), ("none", None))
    stand.driver.receive(FakeMessage(MAIN, 7, b"k", headers_=headers))
    stand.driver.finish(7, FAILED)

    assert stand.cycle.run()

    ((kind, (record,), offsets, metadata),) = stand.diary
    assert (kind, offsets, metadata) == ("send", {(MAIN, 0): 8}, "metadata")
    assert (record.topic, record.partition) == (SHORT, 0)
    assert (record.key, record.value) == (b"k", b"7")
    assert record.headers[-2:] == [("x", b"theirs"), ("none", None)]
    ours = dict(record.headers[:-2])
    assert (ours["sj-attempt"], ours["sj-origin"], ours["sj-worker"]) == (b"1", b"T:0:7", b"w1")
    assert stand.counted("transaction", "committed") == 1


@pytest.mark.parametrize("made", [True, False])
def test_what_a_transaction_came_to_is_read_from_the_groups_offsets(
    stand: Stand, *, made: bool
) -> None:
    # Given a transaction that moves a job, and tells of another partition what is told already
    stand.driver.main(0, 1)
    stand.driver.finish(0)
    assert stand.cycle.run(wait=True)
    before = (1, stand.texts[MAIN, 0])
    stand.driver.finish(1, FAILED)
    stand.driver.engine.ended(SHORT, 0, 7, 0.0)
    sent: list[bool | None] = []

    def answer() -> Exception:
        # While it is not known there is no answer, and then it is one of these
        assert stand.was_committed is not None
        sent.append(stand.was_committed())
        stand.found = {
            (MAIN, 0): (2, stand.texts[MAIN, 0]) if made else before,
            (SHORT, 0): (7, stand.texts[SHORT, 0]),
        }
        sent.append(stand.was_committed())
        return CycleFailed("to be tried again")

    stand.on_send = answer
    assert not stand.cycle.run()
    assert sent == [None, made]
    assert ("asked", (MAIN, 0)) in stand.diary


def test_a_worker_that_was_to_have_ended_does_not_wait_for_it(stand: Stand) -> None:
    stand.driver.main(0)
    stand.driver.finish(0, FAILED)

    def asks() -> Exception:
        assert stand.was_committed is not None
        assert stand.was_committed() is None
        stand.overdue = True
        stand.was_committed()
        raise AssertionError("it waits on")

    stand.on_send = asks
    with pytest.raises(LeftOpen, match="the next owner"):
        stand.cycle.run()
    assert stand.counted("transaction", "failed") == 0


def test_a_job_with_very_many_headers_keeps_its_state_and_a_hundred(stand: Stand) -> None:
    theirs = [(f"x{n}", b"") for n in range(200)]
    stand.driver.receive(FakeMessage(MAIN, 7, b"k", headers_=theirs))
    stand.driver.finish(7, FAILED)
    stand.cycle.run()

    ((_, (record,), *_),) = stand.diary
    state = read_delivery(record.headers, rung=1)
    assert (state.attempts, state.origin) == (1, Origin("T", 0, 7))
    assert list(foreign(record.headers)) == theirs[:100]


def test_a_move_stays_in_the_partition_it_is_from(stand: Stand) -> None:
    own(stand.driver.engine, 3)
    stand.owned.add((MAIN, 3))
    stand.driver.main(0, partition=3)
    stand.driver.finish(0, Rejected(FAILURE, Reason.INVALID))

    stand.cycle.run()

    ((_, (record,), offsets, _),) = stand.diary
    assert (record.topic, record.partition, offsets) == (DLQ, 3, {(MAIN, 3): 1})


def test_children_are_sent_with_their_parents_offset(stand: Stand) -> None:
    child = Onward("shop.parcels", -1, b"k", b"v")
    stand.driver.main(0)
    stand.driver.finish(0, Succeeded((child,)))

    stand.cycle.run()

    assert stand.diary == [("send", [child], {(MAIN, 0): 1}, "metadata")]
    name = "streamjobs_child_jobs_enqueued_total"
    assert stand.registry.get_sample_value(name, {"queue": "mail"}) == 1


def test_a_plain_commit_under_way_is_answered_before_a_transaction_begins(stand: Stand) -> None:
    stand.driver.main(0, 1)
    stand.driver.finish(0)
    stand.cycle.run()
    stand.driver.finish(1, FAILED)

    # A cycle that writes does not pass one that is under way,
    stand.cycle.run()
    assert kinds(stand) == ["begin"]
    # but when it has to be made at once, the older offsets are settled first.
    assert stand.cycle.run(wait=True)

    assert stand.diary[1] == ("commit", {(MAIN, 0): 1})
    assert (stand.diary[2][0], stand.diary[2][2]) == ("send", {(MAIN, 0): 2})


def test_a_late_answer_is_not_taken_for_that_of_a_later_plain_commit(stand: Stand) -> None:
    # Given a plain commit that a transaction did not wait for, and whose answer was not told so far
    stand.driver.main(0, 1)
    stand.driver.finish(0)
    stand.cycle.run()
    stand.driver.finish(1, FAILED)
    stand.cycle.run(wait=True)
    stand.diary.clear()

    # When another is due, then it is waited for, and its own answer counts
    stand.driver.main(2, key=b"b")
    stand.driver.finish(2)
    stand.commit_refusals = [CommitRefused("refused")]
    assert not stand.cycle.run()
    stand.answers[0](None)
    assert (kinds(stand), stand.counted("plain", "committed")) == (["commit"], 0)

    # And after the late answer plain commits are not waited for again
    assert stand.cycle.run()
    assert kinds(stand) == ["commit", "begin"]


@pytest.mark.parametrize("fatal", [False, True])
def test_a_failed_cycle_goes_again_whole_with_a_new_producer_only_when_it_must(
    stand: Stand, *, fatal: bool
) -> None:
    stand.driver.main(0, key=b"a")
    stand.driver.main(1, key=b"b")
    stand.driver.finish(0, FAILED)
    stand.send_refusals = [CycleFailed("no", fatal=fatal)]

    assert not stand.cycle.run()
    stand.driver.finish(1, FAILED)
    assert stand.cycle.run()

    first, second = stand.diary
    assert [r.value for r in first[1]] == [b"0"]
    assert [r.value for r in second[1]] == [b"0", b"1"]
    assert second[2] == {(MAIN, 0): 2}
    assert stand.producers == (2 if fatal else 1)
    assert stand.counted("transaction", "failed") == 1


def test_after_a_client_that_is_stuck_the_next_one_has_its_id_once_the_coordinator_answers(
    stand: Stand,
) -> None:
    # Given a producer that does not come back
    stand.driver.main(0)
    stand.driver.finish(0, FAILED)
    stand.send_refusals = [CycleFailed("no", fatal=True, stuck=True)]
    assert not stand.cycle.run()

    # When the group's coordinator is away, then no other is made that could be stuck as well
    stand.coordinators = [False, True]
    assert not stand.cycle.run()
    assert stand.producers == 1

    # And when it is back, the next one ends what the first has begun, being told by the same id
    assert stand.cycle.run()
    assert stand.producers == 2
    assert len(set(stand.names)) == 1
    assert kinds(stand) == ["send", "send"]

    # And from then on it is not asked any more
    stand.coordinators = [False]
    stand.driver.main(1, key=b"b")
    stand.driver.finish(1, FAILED)
    assert stand.cycle.run()


def test_a_new_producers_id_is_told_once_the_coordinator_answers(stand: Stand) -> None:
    # Given a producer that is used up, and a coordinator that is away: a commit would wait for it
    stand.driver.main(0, key=b"a")
    stand.driver.main(1, key=b"b")
    stand.driver.finish(0, FAILED)
    assert stand.cycle.run()
    stand.driver.finish(1, FAILED)
    stand.send_refusals = [CycleFailed("no", fatal=True)]
    assert not stand.cycle.run()
    stand.coordinators = [False, True]

    # When a cycle is to be made, then it is not, until there is one
    assert not stand.cycle.run()
    assert kinds(stand) == ["send", "send"]
    assert stand.cycle.run()
    assert kinds(stand) == ["send", "send", "commit", "send"]


def test_a_new_producers_id_is_told_beside_what_the_broker_has_by_then(stand: Stand) -> None:
    # Given a commit that was not answered, and a producer that is used up
    stand.driver.main(0, 1, 2)
    stand.driver.finish(0)
    assert stand.cycle.run()
    stand.driver.finish(1, FAILED)
    stand.send_refusals = [CycleFailed("no", fatal=True)]
    assert not stand.cycle.run(wait=True)

    # When the next one's id is told, then beside no lower offset than that one's
    assert stand.cycle.run(wait=True)
    assert [each for each in stand.diary if each[0] in {"begin", "commit"}] == [
        ("begin", {(MAIN, 0): 1}),
        ("commit", {(MAIN, 0): 1}),
        ("commit", {(MAIN, 0): 1}),
    ]


def test_an_answer_that_comes_late_takes_nothing_back(stand: Stand) -> None:
    # Given a commit that was not answered, and a later one that was
    stand.driver.main(0, 1, 2)
    stand.driver.finish(0)
    assert stand.cycle.run()
    stand.driver.finish(1)
    assert stand.cycle.run(wait=True)

    stand.answers[0](None)

    assert stand.driver.engine.standing[MAIN, 0].offset == 2


def test_who_is_no_member_commits_nothing_and_keeps_what_was_decided(stand: Stand) -> None:
    stand.driver.main(0)
    stand.driver.finish(0, FAILED)
    stand.member = False

    assert not stand.cycle.run()
    assert stand.diary == []

    stand.member = True
    assert stand.cycle.run()
    assert kinds(stand) == ["send"]


@pytest.mark.parametrize("left", [set(), {(MAIN, 0)}])
def test_nothing_is_written_while_partitions_of_the_cycle_are_going(
    stand: Stand, left: set[Partition]
) -> None:
    own(stand.driver.engine, 1)
    stand.driver.main(0)
    stand.driver.main(0, partition=1, key=b"z")
    stand.driver.finish(0, FAILED)
    stand.driver.finish(0, FAILED)
    stand.owned = left

    assert not stand.cycle.run()

    assert stand.diary == []
    assert stand.driver.engine.moves_wait


def test_a_plain_commit_leaves_out_what_is_no_longer_owned(stand: Stand) -> None:
    stand.driver.main(0)
    stand.driver.finish(0)
    stand.owned = set()

    assert stand.cycle.run()
    assert stand.cycle.run(wait=True)

    assert stand.diary == []


def test_without_transactions_records_are_acknowledged_before_offsets_are_committed(
    stand: Stand,
) -> None:
    stand.kind = IdempotentProducer
    stand.driver.main(0)
    stand.driver.finish(0, FAILED)
    stand.send_refusals = [CycleFailed("not delivered")]

    assert not stand.cycle.run()
    assert kinds(stand) == ["send"]

    assert stand.cycle.run()
    assert kinds(stand) == ["send", "send", "commit"]
    assert stand.diary[2] == ("commit", {(MAIN, 0): 1})


def test_without_transactions_a_refused_commit_repeats_the_records_and_loses_none(
    stand: Stand,
) -> None:
    stand.kind = IdempotentProducer
    stand.driver.main(0)
    stand.driver.finish(0, FAILED)
    stand.commit_refusals = [CommitRefused("refused")]

    assert not stand.cycle.run()
    assert stand.counted("transaction", "committed") == 0

    assert stand.cycle.run()
    assert kinds(stand) == ["send", "commit", "send", "commit"]


class TestConfirm:
    def test_what_was_decided_and_what_stands_are_committed_and_waited_for(
        self, stand: Stand
    ) -> None:
        stand.driver.main(0, 1)
        stand.driver.finish(0)

        assert stand.cycle.confirm()

        assert stand.diary == [("commit", {(MAIN, 0): 1})]

    def test_without_anything_new_the_broker_is_asked_all_the_same(self, stand: Stand) -> None:
        stand.driver.main(0)
        stand.driver.finish(0)
        assert stand.cycle.run(wait=True)
        stand.commit_refusals = [CommitRefused("unknown member")]

        assert not stand.cycle.confirm()
        assert kinds(stand) == ["commit", "commit"]

    def test_one_who_is_no_member_is_not_confirmed(self, stand: Stand) -> None:
        stand.member = False

        assert not stand.cycle.confirm()


class TestRefused:
    """A record that the broker takes no other time either."""

    def test_its_shard_stands_still_and_the_others_go_on(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        # given two shards, each with a job that is to be moved to the DLQ
        own(stand.driver.engine, 1)
        stand.owned |= {(t, 1) for t in (MAIN, SHORT, LONG)}
        stand.driver.main(0, key=b"a")
        stand.driver.main(0, key=b"b", partition=1)
        for partition in (0, 1):
            record = next(r for r in stand.driver.running if r.log.partition == partition)
            stand.driver._finish(record, Rejected(FAILURE, Reason.REJECTED))

        # when the DLQ of the first refuses it
        stand.send_refusals = [CycleFailed("no", refused={(DLQ, 0): f"{DLQ}[0]: too large"})]
        assert not stand.cycle.run()
        assert stand.cycle.run()

        # then the other's is written, and nothing of the first is committed
        _, records, offsets, _ = stand.diary[-1]
        assert [(record.topic, record.partition) for record in records] == [(DLQ, 1)]
        assert offsets == {(MAIN, 1): 1}
        assert stand.cycle.refused == {0: f"{DLQ}[0]: too large"}
        assert "partition 0 stands still" in caplog.text
        assert "topics apply" in caplog.text

        # and when it is mended, the first goes on after a while
        sent = len(stand.diary)
        assert stand.cycle.run()
        assert len(stand.diary) == sent
        monkeypatch.setattr(stand.cycle, "_try_again", 0.0)
        assert stand.cycle.run()
        _, records, offsets, _ = stand.diary[-1]
        assert [(record.topic, record.partition) for record in records] == [(DLQ, 0)]
        assert offsets == {(MAIN, 0): 1}
        assert stand.cycle.refused == {}
        assert "partition 0 goes on" in caplog.text

    def test_as_it_is_given_back_it_is_tried_once_more_and_then_the_others_are_committed(
        self, stand: Stand
    ) -> None:
        # given one that stands still, and another one
        own(stand.driver.engine, 1)
        stand.owned |= {(t, 1) for t in (MAIN, SHORT, LONG)}
        stand.driver.main(0, key=b"a")
        stand.driver.main(0, key=b"b", partition=1)
        record = next(r for r in stand.driver.running if r.log.partition == 0)
        stand.driver._finish(record, Rejected(FAILURE, Reason.REJECTED))
        refusal = CycleFailed("no", refused={(DLQ, 0): "too large"})
        stand.send_refusals = [refusal, refusal]
        assert not stand.cycle.run()

        # when both are given back, then it is tried at once, whatever its time, and in vain
        given_back = [(MAIN, 0), (MAIN, 1)]
        stand.cycle.try_refused()
        assert not stand.cycle.run(wait=True, clean=given_back)
        assert kinds(stand) == ["send", "send"]

        # and the next one is the other's alone, one in between too
        assert stand.cycle.run(wait=True)
        assert stand.cycle.run(wait=True, clean=given_back)
        assert kinds(stand) == ["send", "send", "commit", "commit"]
        assert {number for _, number in stand.diary[-1][1]} == {1}

        # and where it is mended by then, all of it is committed
        stand.cycle.try_refused()
        assert stand.cycle.run(wait=True, clean=given_back)
        assert [(r.topic, r.partition) for r in stand.diary[-1][1]] == [(DLQ, 0)]
        assert stand.cycle.refused == {}

    def test_no_more_of_it_is_fetched_meanwhile(self, stand: Stand) -> None:
        stand.driver.main(0)
        stand.driver.finish(0, Rejected(FAILURE, Reason.REJECTED))
        stand.send_refusals = [CycleFailed("no", refused={(DLQ, 0): "too large"})]

        assert not stand.cycle.run()
        stand.driver.tick(1.0)

        assert set(stand.driver.engine.take_flow().pause) == {(t, 0) for t in (MAIN, SHORT, LONG)}

    def test_it_is_not_fetched_either_after_it_was_tried_in_vain(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given one that stands still, and the consumer has been told
        stand.driver.main(0)
        stand.driver.finish(0, Rejected(FAILURE, Reason.REJECTED))
        stand.send_refusals = [CycleFailed("no", refused={(DLQ, 0): "too large"})] * 2
        assert not stand.cycle.run()
        stand.driver.engine.take_flow()

        # when it is tried again, and refused again
        monkeypatch.setattr(stand.cycle, "_try_again", 0.0)
        assert not stand.cycle.run()

        # then the consumer is not told to fetch it
        assert stand.driver.engine.take_flow().resume == []

    def test_a_topic_that_was_missing_is_asked_for_before_it_is_tried_again(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a shard that stands still since there is no DLQ
        stand.driver.main(0)
        stand.driver.finish(0, Rejected(FAILURE, Reason.REJECTED))
        stand.send_refusals = [CycleFailed("no", refused={(DLQ, 0): "gone"})]
        assert not stand.cycle.run()
        sent = len(stand.diary)

        # when it is tried again and is still not there, then nothing is sent
        stand.absent = {DLQ}
        monkeypatch.setattr(stand.cycle, "_try_again", 0.0)
        assert not stand.cycle.run()
        assert len(stand.diary) == sent
        assert stand.cycle.refused == {0: f"{DLQ} does not exist"}

        # and when it is there, it is
        stand.absent = set()
        monkeypatch.setattr(stand.cycle, "_try_again", 0.0)
        assert stand.cycle.run()
        assert len(stand.diary) == sent + 1
        assert stand.cycle.refused == {}

    def test_a_child_job_that_is_refused_holds_its_parents_shard(self, stand: Stand) -> None:
        stand.driver.main(0)
        stand.driver.finish(0, Succeeded((Onward("shop.gone", -1, b"k", b"v"),)))
        refused = {("shop.gone", -1): "shop.gone does not exist"}
        stand.send_refusals = [CycleFailed("no", refused=refused)]

        assert not stand.cycle.run()

        assert stand.cycle.refused == {0: "shop.gone does not exist"}

    def test_for_want_of_a_right_it_is_told_what_grants_it(
        self, stand: Stand, caplog: pytest.LogCaptureFixture
    ) -> None:
        # given a shard whose DLQ may not be written
        stand.driver.main(0)
        stand.driver.finish(0, Rejected(FAILURE, Reason.REJECTED))
        why = lacking(WRITE, "topic", DLQ)
        refused = {(DLQ, 0): why}
        denied = "aborted: Broker: Topic authorization failed"
        stand.send_refusals = [CycleFailed(denied, refused=refused)]

        # when it is refused
        assert not stand.cycle.run()

        # then the command that grants the right is told, and not one that makes topics
        assert stand.cycle.refused == {0: why}
        assert "kafka-acls.sh --bootstrap-server HOST:PORT --add --allow-principal" in caplog.text
        assert "topics apply" not in caplog.text
        assert "denied" in stand.diary
        # and the others do not wait for it
        own(stand.driver.engine, 1)
        stand.owned |= {(t, 1) for t in (MAIN, SHORT, LONG)}
        stand.driver.main(0, partition=1)
        stand.driver._finish(stand.driver.running[0], None)
        assert stand.cycle.run()
        assert stand.diary[-1] == ("begin", {(MAIN, 1): 1})

    def test_a_transactional_id_that_is_denied_is_told_by_what_all_of_them_begin_with(self) -> None:
        why = refused_id("shop.mail.0123456789abcdef.01234567")
        assert "no right to WRITE transactional ids shop.mail.*: " in why
        assert "--transactional-id shop.mail. --resource-pattern-type prefixed" in why


class TestOutcast:
    """The brokers deny us the group."""

    def test_it_is_told_and_not_asked_for_twice_a_second(
        self, stand: Stand, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a job that has ended, and a broker that takes no commit of the group
        stand.driver.main(0)
        stand.driver.finish(0)
        stand.commit_refusals = [CommitRefused(f"Commit failed: {GROUP_DENIED}")]
        assert not stand.cycle.run(wait=True)
        assert (stand.cycle.outcast, stand.cycle.member) == (True, False)
        assert stand.diary[-1] == "denied"

        # then it is not asked again at once, but when the shard is given back
        before = len(stand.diary)
        assert not stand.cycle.run(wait=True)
        assert len(stand.diary) == before

        # and when the right is given, the commit is taken
        monkeypatch.setattr(stand.cycle, "_rest_until", 0.0)
        assert stand.cycle.run(wait=True)
        assert (stand.cycle.outcast, stand.cycle.member) == (False, True)
        assert stand.diary[-1] == ("commit", {(MAIN, 0): 1})

    def test_who_gives_a_shard_back_asks_once_more(self, stand: Stand) -> None:
        stand.driver.main(0)
        stand.driver.finish(0)
        stand.commit_refusals = [CommitRefused(f"Commit failed: {GROUP_DENIED}")]
        assert not stand.cycle.run(wait=True)

        assert stand.cycle.run(wait=True, clean={(MAIN, 0)})


def test_what_is_given_back_is_committed_as_far_as_it_is_complete_and_called_clean(
    stand: Stand,
) -> None:
    # Given a job that has not ended below some that have
    for offset in range(4):
        stand.driver.main(offset, key=b"%d" % offset)
    for offset in (0, 2, 3):
        stand.driver.finish(offset)

    # When its partition is given back
    assert stand.cycle.run(wait=True, clean=[(MAIN, 0)])

    # Then it is the first that the next owner runs
    assert stand.diary == [("commit", {(MAIN, 0): 1})]
    told = read(stand.texts[MAIN, 0], 1)
    assert told is not None
    assert told.clean
    assert told.above.bounds == (1, 2, 4)


def test_a_dead_letter_commits_nothing_that_others_have_not_done(stand: Stand) -> None:
    stand.driver.main(0, key=b"a")
    stand.driver.main(1, key=b"b")
    stand.driver.finish(1, Rejected(FAILURE, Reason.REJECTED))

    assert stand.cycle.run()

    ((_, (record,), offsets, _),) = stand.diary
    assert (record.topic, offsets) == (DLQ, {(MAIN, 0): 0})


def test_dead_letters_keep_key_value_headers_and_their_order(stand: Stand) -> None:
    for offset in (3, 4, 5):
        headers = (("x", b"%d" % offset),)
        stand.driver.receive(FakeMessage(MAIN, offset, b"k", headers_=headers))
    for offset in (3, 4, 5):
        stand.driver.finish(offset, Rejected(FAILURE, Reason.REJECTED))

    assert stand.cycle.run()

    ((_, records, _, _),) = stand.diary
    assert [(r.topic, r.key, r.value) for r in records] == [
        (DLQ, b"k", b"%d" % offset) for offset in (3, 4, 5)
    ]
    assert [r.headers[-1] for r in records] == [("x", b"%d" % offset) for offset in (3, 4, 5)]
