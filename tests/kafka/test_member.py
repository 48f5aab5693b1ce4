"""Member on a real broker: what the gate owns, under which generation, and from where it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import Mock

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.coordinator.consumer import ConsumerCoordinator

from pipeline.errors import BrokerUnreachable, Fenced, SluiceError, TransientError
from pipeline.kafka import topics
from pipeline.kafka.member import Assignment, Ends, Member, _asked
from pipeline.kafka.transaction import TransactionalProducer
from pipeline.records import TopicPartition
from tests.messages import batch

pytestmark = pytest.mark.kafka

Join = Callable[..., "Gate"]
SHORT_S = 6.0  # the shortest session that a broker grants by default


@pytest.fixture
def name(topic: Callable[..., str]) -> str:
    return topic(partitions=4)


class Gate:
    """A member that is polled all the time by a thread of its own, as a gate does it.

    Args:
        member: Its member.
        busy_s: What it does for so long between two polls is something else.
    """

    def __init__(self, member: Member, busy_s: float) -> None:
        self.member = member
        self._busy_s = busy_s
        self.told: list[Assignment] = []
        self.error: SluiceError | None = None
        self._polling = threading.Event()
        self._waits = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._polling.set()
        self._thread.start()

    def pause(self) -> None:
        """Stop polling, as a gate does that is busy."""
        self._waits.clear()
        self._polling.clear()
        assert self._waits.wait(60), "it polls on and on"

    def resume(self) -> None:
        self._polling.set()

    def end(self) -> Member:
        """Stop polling for good."""
        self._ended.set()
        self._polling.set()
        self._thread.join(timeout=60)
        return self.member

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._polling.is_set():
                self._waits.set()
                self._polling.wait()
                continue
            try:
                assignment = self.member.poll(0.05)
            except SluiceError as error:
                self.error = error
                return
            if assignment is not None:
                self.told.append(assignment)
            time.sleep(self._busy_s)


@pytest.fixture
def join(settings: dict[str, Any], name: str) -> Iterator[Join]:
    """Join the group of this test: `join(instance="1")`."""
    with ExitStack() as stack:

        def make(*, busy_s: float = 0.0, **options: Any) -> Gate:
            member = Member(settings, group=f"group-of-{name}", topic=name, **options)
            stack.callback(member.close, leave=True)
            gate = Gate(member, busy_s)
            stack.callback(gate.end)
            return gate

        yield make


@pytest.fixture
def commit(settings: dict[str, Any], name: str) -> Callable[..., None]:
    """Commit offsets in a transaction: `commit(group, {source: 5})`."""

    def make(group: object, offsets: dict[TopicPartition, int]) -> None:
        with TransactionalProducer(settings, transactional_id=f"id-{name}") as producer:
            producer.init()
            producer.begin()
            producer.confirm()
            producer.commit_offsets(offsets, group)
            producer.commit()

    return make


def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def settle(*gates: Gate, shares: list[int], within_s: float = 60.0) -> list[Assignment]:
    """Wait until the gates own so many partitions, in any order, in one generation; what each was told last."""

    def settled() -> bool:
        latest = [gate.told[-1] for gate in gates if gate.told]
        one_generation = len({assignment.group.generation_id for assignment in latest}) == 1
        return one_generation and sorted(len(a.positions) for a in latest) == sorted(shares)

    until(settled, within_s=within_s)
    return [gate.told[-1] for gate in gates]


def sources(name: str, *partitions: int) -> list[TopicPartition]:
    return [TopicPartition(name, p) for p in partitions]


def test_a_first_start_owns_everything_and_names_what_was_never_committed(join, fill, name):
    fill(TopicPartition(name, 1), [b"a", b"b"])
    gate = join(start="latest")
    [assignment] = settle(gate, shares=[4])

    assert assignment.number == 1
    assert assignment.positions == dict(zip(sources(name, 0, 1, 2, 3), (0, 2, 0, 0), strict=True))
    assert assignment.fresh == assignment.positions
    assert not gate.member.revoked


def test_goes_on_from_what_is_committed(join, commit, fill, name):
    first = join()
    [assignment] = settle(first, shares=[4])
    commit(assignment.group, {TopicPartition(name, 2): 7})
    first.end().close(leave=True)
    fill(TopicPartition(name, 3), [b"not committed"])

    [again] = settle(join(start="earliest"), shares=[4])

    assert again.positions == dict(zip(sources(name, 0, 1, 2, 3), (0, 0, 7, 0), strict=True))
    assert again.fresh.keys() == set(sources(name, 0, 1, 3))
    assert again.notes == {}


def test_a_partition_that_is_added_to_a_group_that_started_at_latest_begins_at_its_first_offset(
    join, commit, fill, settings, name, admin: KafkaAdminClient
):
    """It began at its end: what was written before it was seen was never read."""
    first = join(start="latest")
    [assignment] = settle(first, shares=[4])
    commit(assignment.group, assignment.fresh)
    first.end().close(leave=True)
    admin.create_partitions({name: 5})
    until(lambda: topics.partition_counts(settings, [name]) == {name: 5})
    fill(TopicPartition(name, 4), [b"before it was seen"])

    [again] = settle(join(start="latest"), shares=[5])

    assert again.fresh == {TopicPartition(name, 4): 0}


def test_a_group_that_starts_at_latest_starts_everywhere_at_once(join, commit, fill, name):
    """Whoever asked after the first commit would take its own partitions for added ones."""
    for number in range(4):
        fill(TopicPartition(name, number), [b"before the start"])
    gates = [join(start="latest"), join(start="latest")]

    def owner() -> Assignment | None:
        latest = [gate.told[-1] for gate in gates if gate.told]
        return next(
            (a for a in latest if len(a.positions) == 2 and TopicPartition(name, 0) in a.positions), None
        )

    until(lambda: owner() is not None)
    began = owner()
    assert began is not None
    assert began.fresh == dict.fromkeys(sources(name, 0, 1, 2, 3), 1)
    for number in range(4):
        fill(TopicPartition(name, number), [b"after the start"])
    time.sleep(1)
    assert began is owner(), "nobody is told before the start is committed"
    commit(began.group, began.fresh)

    told = settle(*gates, shares=[2, 2])
    assert {source: at for a in told for source, at in a.positions.items()} == began.fresh


def test_all_partitions_are_asked_for_at_once(join, monkeypatch, name):
    """One after the other, each with its own deadline, they outlasted the gate's liveness on a slow broker."""
    fetch, asked = ConsumerCoordinator.fetch_committed_offsets, []

    def remember(coordinator: ConsumerCoordinator, partitions: list[Any], timeout_ms: float | None = None):
        asked.append(len(partitions))
        return fetch(coordinator, partitions, timeout_ms)

    monkeypatch.setattr(ConsumerCoordinator, "fetch_committed_offsets", remember)
    settle(join(), shares=[4])

    assert asked == [4]


def test_nothing_is_told_while_nothing_changes(join):
    gate = join()
    settle(gate, shares=[4])

    member = gate.end()

    assert [member.poll(0.02) for _ in range(5)] == [None] * 5
    assert len(gate.told) == 1


def test_the_partitions_are_shared_out_and_come_back(join):
    first, second = join(), join()
    mine, yours = settle(first, second, shares=[2, 2])

    assert not mine.positions.keys() & yours.positions.keys()
    second.end().close(leave=True)
    [everything] = settle(first, shares=[4])
    assert everything.number > mine.number


def test_a_rebalance_that_waits_for_another_member_has_revoked_everything(join):
    """What is under way is dropped at the revocation: the publisher asks `revoked` before each commit."""
    first, second = join(), join()
    before, _ = settle(first, second, shares=[2, 2])
    second.pause()

    third = join()
    until(lambda: first.member.revoked)
    [revoked] = settle(first, shares=[0])
    second.resume()

    after, *_ = settle(first, second, third, shares=[2, 1, 1])
    assert not first.member.revoked
    assert revoked.revoked
    assert (revoked.number, after.number) == (before.number + 1, before.number + 2)


def test_one_rebalance_is_enough_although_members_are_busy_between_their_polls(join, monkeypatch):
    """The library throws away a join that completes between two polls, and joins again, without end."""
    monkeypatch.setattr("pipeline.kafka.member.PATIENCE_S", 30.0)  # a slow machine outlasts the usual one
    first = join(busy_s=0.2)
    [alone] = settle(first, shares=[4])

    second = join(busy_s=0.5)
    two, _ = settle(first, second, shares=[2, 2])
    three, *_ = settle(first, second, join(busy_s=0.3), shares=[2, 1, 1])

    assert two.group.generation_id == alone.group.generation_id + 1
    assert three.group.generation_id == alone.group.generation_id + 2


def test_a_commit_under_the_snapshot_is_refused_once_the_group_has_moved_on(join, commit, name):
    """The live metadata carries the new generation at once: a commit under it is not fenced."""
    first = join()
    [old] = settle(first, shares=[4])
    settle(join(), first, shares=[2, 2])
    lost = {source: 5 for source in old.positions if source not in first.told[-1].positions}

    with pytest.raises(TransientError, match=r"IllegalGeneration"):
        commit(old.group, lost)
    commit(first.member._consumer.group_metadata(), lost)  # goes through, although it is another's by now


def test_ends_stop_at_an_open_transaction_and_the_lag_does_not(join, settings, name):
    source = TopicPartition(name, 0)
    gate = join()
    settle(gate, shares=[4])

    with TransactionalProducer(settings, transactional_id=f"id-{name}") as producer:
        producer.init()
        producer.begin()
        producer.send(source, batch(b"open"))
        producer.confirm()
        ends = gate.member.end_offsets()

    assert ends[source] == Ends(last_stable=0, high_watermark=1)
    assert ends.keys() == set(sources(name, 0, 1, 2, 3))


def test_a_named_member_comes_back_to_its_partitions_without_a_rebalance(join):
    first, second = join(instance="1", session_timeout_s=60), join(instance="2", session_timeout_s=60)
    before, other = settle(first, second, shares=[2, 2])
    first.end().close(leave=False)

    again = join(instance="1", session_timeout_s=60)
    [after] = settle(again, shares=[2])

    assert after.positions == before.positions
    assert after.group.generation_id == before.group.generation_id
    assert second.told[-1] is other


def test_a_named_member_that_leaves_gives_its_partitions_back_at_once(join):
    """The library never sends LeaveGroup for it: they would be nobody's until the session ends."""
    first, second = join(instance="1", session_timeout_s=300), join(instance="2", session_timeout_s=300)
    settle(first, second, shares=[2, 2])

    second.end().close(leave=True)

    settle(first, shares=[4])


def test_a_named_member_that_was_replaced_learns_of_it(join):
    """The library stops the heartbeat without a word, and goes on as if it owned its partitions."""
    replaced = join(instance="1", session_timeout_s=SHORT_S)
    settle(replaced, shares=[4])
    settle(join(instance="1"), shares=[4])

    until(lambda: replaced.error is not None, within_s=SHORT_S + 60)

    assert isinstance(replaced.error, Fenced)
    assert replaced.error.identity.endswith("-1")


@pytest.mark.slow
def test_a_named_leader_that_restarts_sees_partitions_that_were_added(join, admin: KafkaAdminClient, name):
    """It keeps its old assignment, and the group would overlook the new partitions for ever."""
    first = join(instance="1", session_timeout_s=SHORT_S)
    settle(first, shares=[4])
    first.end().close(leave=False)
    admin.create_partitions({name: 6})

    settle(join(instance="1", session_timeout_s=SHORT_S), shares=[6], within_s=120)


def test_the_group_sees_a_real_member(join, admin: KafkaAdminClient, name):
    settle(join(), shares=[4])

    group = admin.describe_groups([f"group-of-{name}"])[f"group-of-{name}"]

    assert group["group_state"] == "Stable"
    assert [member["client_id"] for member in group["members"]] == ["sluice"]


def test_payload_is_never_read(join, fill, name):
    gate = join()
    settle(gate, shares=[4])
    fill(TopicPartition(name, 0), [b"payload"])
    time.sleep(0.3)

    consumer = gate.end()._consumer

    assert consumer.paused() == consumer.assignment() != set()
    assert consumer.position(kafka_python.TopicPartition(name, 0)) == 0


def test_a_question_to_a_broker_that_is_gone_is_put_anew_and_not_for_all_of_the_time():
    """The library waits for a dead leader as long as it may: a killed broker cost the whole session."""
    source, waited_ms, consumer = kafka_python.TopicPartition("t", 0), [], Mock()

    def ask(partitions: list[Any], *, timeout_ms: float) -> dict[Any, int]:
        waited_ms.append(timeout_ms)
        if len(waited_ms) < 3:
            raise kafka_errors.KafkaTimeoutError
        return dict.fromkeys(partitions, 7)

    assert _asked(ask, [source], time.monotonic() + 1000, consumer) == {source: 7}
    assert waited_ms == [2000, 2000, 2000]
    assert consumer._cluster.request_update.call_count == 2


def test_a_partition_that_a_client_has_not_heard_of_yet_is_asked_for_again():
    """The library raises KeyError for it: partitions added to a live topic ended the gate."""
    source, asked = kafka_python.TopicPartition("t", 3), []

    def ask(partitions: list[Any], *, timeout_ms: float) -> dict[Any, int]:
        asked.append(timeout_ms)
        if len(asked) < 2:
            raise KeyError(source)
        return dict.fromkeys(partitions, 7)

    assert _asked(ask, [source], time.monotonic() + 1000, Mock()) == {source: 7}
    asked.clear()
    with pytest.raises(kafka_errors.KafkaTimeoutError, match="not known yet"):
        _asked(ask, [source], time.monotonic() - 1, Mock())


def test_a_partition_without_a_leader_holds_up_no_other():
    """The library leaves it out, as one that it has not heard of, and stumbles: one such partition ended session
    after session of whoever was given it, with all of its others."""
    sources, asked, consumer = [kafka_python.TopicPartition("t", p) for p in range(2)], [], Mock()
    consumer._cluster.leader_for_partition = lambda one: -1 if asked and one.partition == 1 else 0

    def ask(partitions: list[Any], *, timeout_ms: float) -> dict[Any, int]:
        asked.append(partitions)
        if sources[1] in partitions:
            raise KeyError(sources[1])
        return dict.fromkeys(partitions, 7)

    assert _asked(ask, sources, time.monotonic() + 1000, consumer, led=True) == {sources[0]: 7}
    assert asked == [sources, sources[:1]]


def test_a_question_that_nobody_answers_ends_with_its_deadline():
    def ask(partitions: list[Any], *, timeout_ms: float) -> dict[Any, int]:
        time.sleep(timeout_ms / 1000)
        raise kafka_errors.KafkaTimeoutError

    began = time.monotonic()
    with pytest.raises(kafka_errors.KafkaTimeoutError):
        _asked(ask, [], began + 0.2, Mock())
    assert time.monotonic() - began < 30


def test_no_broker_is_said_within_the_deadline():
    nowhere = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}

    with pytest.raises(BrokerUnreachable):
        Member(nowhere, group="g", topic="t")
