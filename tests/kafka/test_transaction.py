"""TransactionalProducer on a real broker: sure, or spent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.structs import ConsumerGroupMetadata

from pipeline.errors import BrokerUnreachable, DataUnusable, Fenced, InvariantBroken, TransientError
from pipeline.kafka import topics
from pipeline.kafka.client import SluiceKafkaClient
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.offsets import group_offsets
from pipeline.kafka.reader import RangeReader
from pipeline.kafka.transaction import Delivery, TransactionalProducer
from pipeline.records import TopicPartition
from tests.fakes import Clock
from tests.messages import batch

pytestmark = pytest.mark.kafka

Build = Callable[..., TransactionalProducer]


@pytest.fixture
def name(topic: Callable[..., str]) -> str:
    return topic(partitions=2)


@pytest.fixture
def build(settings: dict[str, Any], name: str) -> Iterator[Build]:
    """Build an initialised producer; each of a test has the same transactional id."""
    with ExitStack() as stack:

        def make(**delivery: Any) -> TransactionalProducer:
            producer = TransactionalProducer(
                settings, transactional_id=f"id-{name}", delivery=Delivery(**delivery)
            )
            stack.callback(producer.close)
            producer.init()
            return producer

        yield make


@pytest.fixture
def group(name: str) -> ConsumerGroupMetadata:
    """A group without members takes any offsets."""
    return ConsumerGroupMetadata(group_id=f"group-of-{name}")


def committed_values(settings: dict[str, Any], source: TopicPartition) -> list[bytes | None]:
    """What a read_committed reader sees of a partition, once the transactions in it have ended.

    The markers of a transaction are written after its commit was answered: the last stable offset lags behind.
    """
    end = topics.extents(settings, source.topic)[source].high_watermark
    if end == 0:
        return []
    reader = RangeReader(settings)
    read = reader.read(source, 0, end, max_records=1000, max_bytes=1 << 30)
    reader.close()
    return [record.value for record in read.records]


def test_messages_and_offsets_appear_together_and_not_before(build, settings, name, group):
    producer, out, source = build(), TopicPartition(name, 0), TopicPartition(name, 1)

    producer.begin()
    producer.send(out, batch(b"v1", key=b"k", headers=[("h", b"1"), ("h", b"2")]))
    producer.send(out, batch(b"v2"))
    producer.confirm()
    producer.commit_offsets({source: 7}, group)
    last_stable = topics.extents(settings, name)[out].last_stable
    committed = topics.committed(settings, group.group_id, name, wait_s=0.3)
    producer.commit()

    assert (last_stable, committed) == (0, {})
    assert committed_values(settings, out) == [b"v1", b"v2"]
    assert topics.committed(settings, group.group_id, name, wait_s=60) == {source: 7}
    assert producer.reusable


def test_one_transaction_follows_another(build, settings, name, group):
    producer, out = build(), TopicPartition(name, 0)

    for i in range(5):
        producer.begin()
        producer.send(out, batch(b"%d" % i))
        producer.confirm()
        producer.commit_offsets({TopicPartition(name, 1): i}, group)
        producer.commit()

    assert committed_values(settings, out) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_transaction_of_offsets_alone_is_committed(build, settings, name, group):
    producer = build()

    producer.begin()
    producer.confirm()
    producer.commit_offsets({TopicPartition(name, 0): 3}, group)
    producer.commit()

    assert topics.committed(settings, group.group_id, name, wait_s=60) == {TopicPartition(name, 0): 3}


def test_a_note_is_kept_with_the_offset_until_the_partition_is_committed_again(build, settings, name, group):
    producer, sources = build(), [TopicPartition(name, 0), TopicPartition(name, 1)]
    reader = kafka_python.KafkaConsumer(
        **settings, group_id=group.group_id, isolation_level="read_committed", enable_auto_commit=False
    )

    def notes_after(committed: list[TopicPartition], note: str) -> list[str]:
        producer.begin()
        producer.confirm()
        producer.commit_offsets(dict.fromkeys(committed, 3), group, note=note)
        producer.commit()
        found = group_offsets(reader, sources, deadline_s=60)
        return [found[source].note for source in sources]

    assert notes_after(sources, "held") == ["held", "held"]
    assert notes_after(sources[:1], "") == ["", "held"]
    reader.close()


def test_a_batch_that_the_library_gave_up_on_is_noticed(settings, topic, admin: KafkaAdminClient, name):
    """The library's flush and commit both succeed here, and the second message is lost.

    Its topic is deleted under the transaction: an error that may pass, so the library tries again until
    `delivery_timeout_ms`, and then fails the batch without a word to the transaction.
    """
    doomed = TopicPartition(topic(), 0)
    hasty = {**settings, "request_timeout_ms": 500}
    delivery = Delivery(transaction_timeout_s=1.9, delivery_timeout_s=2.0, deadline_s=15)
    producer = TransactionalProducer(hasty, transactional_id=f"id-{name}", delivery=delivery)
    producer.init()

    producer.begin()
    producer.send(doomed, batch(b"accepted"))
    producer._sent.wait(10)
    admin.delete_topics([doomed.topic])

    def finish() -> None:
        producer.send(doomed, batch(b"lost"))  # fails at once, where the library knows by then
        producer.confirm()

    with pytest.raises(TransientError, match=r"sending"):
        finish()

    for verb in (producer.confirm, producer.commit, producer.begin):
        with pytest.raises(InvariantBroken):
            verb()
    producer.close()


def test_nothing_of_a_failed_transaction_goes_out_with_the_next(build, settings, name, group):
    """The library keeps the offsets of an aborted transaction and sends them with the next one."""
    failed = build()
    failed.begin()
    failed.send(TopicPartition(name, 0), batch(b"failed"))
    failed.confirm()
    failed.commit_offsets({TopicPartition(name, 0): 99}, group)
    failed.close()
    with pytest.raises(InvariantBroken):
        failed.begin()

    successor = build()
    successor.begin()
    successor.send(TopicPartition(name, 0), batch(b"good"))
    successor.confirm()
    successor.commit_offsets({TopicPartition(name, 1): 1}, group)
    successor.commit()

    assert committed_values(settings, TopicPartition(name, 0)) == [b"good"]
    assert topics.committed(settings, group.group_id, name, wait_s=60) == {TopicPartition(name, 1): 1}


@pytest.mark.parametrize("n_messages", [0, 3])
def test_a_fenced_producer_says_so_and_leaves_its_successor_alone(build, settings, name, group, n_messages):
    zombie, out = build(), TopicPartition(name, 0)
    zombie.begin()
    successor = build()

    def finish(producer: TransactionalProducer, value: bytes) -> None:
        for _ in range(n_messages):
            producer.send(out, batch(value))
        producer.confirm()
        producer.commit_offsets({TopicPartition(name, 1): 5}, group)
        producer.commit()

    with pytest.raises(Fenced) as caught:
        finish(zombie, b"zombie")
    successor.begin()
    finish(successor, b"successor")

    assert caught.value.identity == f"id-{name}"
    assert committed_values(settings, out) == [b"successor"] * n_messages


@pytest.mark.slow
@pytest.mark.parametrize("n_later", [0, 1])
def test_a_transaction_that_the_broker_ended_for_its_age_is_no_successors(
    build, settings, name, group, n_later
):
    """A gate that had stalled in a commit ended as fenced, though nobody had taken over."""
    producer, out = build(transaction_timeout_s=3.0), TopicPartition(name, 0)
    producer.begin()
    producer.send(out, batch(b"too old"))
    if not n_later:
        producer.confirm()
    with KafkaAdminClient(**settings) as admin:
        until_aborted(admin, f"id-{name}")

    def finish() -> None:
        for _ in range(n_later):
            producer.send(out, batch(b"later"))
            producer.confirm()
        producer.commit_offsets({TopicPartition(name, 1): 5}, group)

    with pytest.raises(TransientError, match="outlasted its time-out"):
        finish()
    assert committed_values(settings, out) == []


def until_aborted(admin: KafkaAdminClient, transactional_id: str) -> None:
    """Wait for the coordinator's next look at old transactions, which it takes every ten seconds."""
    deadline = time.monotonic() + 120
    while admin.describe_transactions([transactional_id])[transactional_id].state != "CompleteAbort":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_answer_to_the_commit_that_is_lost_leaves_the_producer_in_doubt(
    build, settings, name, group, monkeypatch
):
    """The library sends EndTxn again with the same epoch; the first may still come, and end the *next*."""
    producer, out = build(), TopicPartition(name, 0)
    send, cut = SluiceKafkaClient.send, []

    def send_and_lose_the_answer(client: SluiceKafkaClient, node_id: int, request: object, **kwargs: Any):
        future = send(client, node_id, request, **kwargs)
        if type(request).__name__ == "EndTxnRequest" and not cut:
            cut.append(request)
            client._manager._conns[node_id].close(kafka_errors.KafkaConnectionError("cut by the test"))
        return future

    monkeypatch.setattr(SluiceKafkaClient, "send", send_and_lose_the_answer)
    producer.begin()
    producer.send(out, batch(b"v"))
    producer.confirm()
    producer.commit_offsets({TopicPartition(name, 1): 1}, group)
    producer.commit()

    assert cut
    assert committed_values(settings, out) == [b"v"]
    assert not producer.reusable
    with pytest.raises(InvariantBroken, match=r"in doubt"):
        producer.begin()


def test_a_commit_under_a_generation_that_has_passed_is_refused(build, settings, name):
    consumer = kafka_python.KafkaConsumer(name, **settings, group_id=f"group-of-{name}")
    while not consumer.assignment():
        consumer.poll(100)
    snapshot = consumer.group_metadata()
    stale = snapshot._replace(generation_id=snapshot.generation_id - 1)
    producer = build()

    producer.begin()
    producer.confirm()
    with pytest.raises(TransientError, match=r"IllegalGeneration"):
        producer.commit_offsets({TopicPartition(name, 0): 1}, stale)
    consumer.close()

    assert not producer.reusable


def test_verbs_come_in_their_order(build, name, group):
    producer = build()
    with pytest.raises(InvariantBroken):
        producer.send(TopicPartition(name, 0), batch(b"v"))
    with pytest.raises(InvariantBroken):
        producer.confirm()

    producer.begin()
    with pytest.raises(InvariantBroken):
        producer.begin()
    with pytest.raises(InvariantBroken):
        producer.commit_offsets({}, group)
    with pytest.raises(InvariantBroken):
        producer.commit()


def test_no_message_follows_the_confirmation(build, name):
    producer = build()
    producer.begin()
    producer.confirm()

    with pytest.raises(InvariantBroken):
        producer.send(TopicPartition(name, 0), batch(b"late"))


def test_what_fits_no_request_is_a_defect_of_ours(build, name):
    producer = build(max_request_bytes=1000)
    producer.begin()

    with pytest.raises(InvariantBroken, match=r"fits a request"):
        producer.send(TopicPartition(name, 0), batch(bytes(1000)))
    assert not producer.reusable


@pytest.mark.parametrize("n_small", [0, 3])
def test_a_message_that_the_broker_finds_too_large_is_no_passing_trouble(build, topic, n_small):
    """The session was built anew and the message sent again, until `publish.rebuild_deadline_s` ended the gate."""
    narrow, wide = TopicPartition(topic(**{"max.message.bytes": "500"}), 0), TopicPartition(topic(), 0)
    producer = build()
    producer.begin()
    for _ in range(5):  # the library gives them up with the one that failed, and with its error
        producer.send(wide, batch(b"v" * 600))
    producer.send(narrow, batch(*[b"small"] * n_small, b"v" * 600))
    producer.send(narrow, batch(b"small"))

    with pytest.raises(DataUnusable, match=r"max\.message\.bytes, or lower limits") as caught:
        producer.confirm()
    assert str(narrow) in caught.value.what
    assert not producer.reusable


def test_a_transaction_that_may_outlive_its_batches_is_refused():
    with pytest.raises(ValueError, match=r"transaction_timeout_s, 45, must be below"):
        Delivery(transaction_timeout_s=45, delivery_timeout_s=45)


def test_no_broker_is_said_within_the_deadline():
    nowhere = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}

    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 within 0\.3 s"):
        TransactionalProducer(nowhere, transactional_id="x")


def test_one_deadline_holds_for_the_whole_end_of_a_transaction(build, name, group, monkeypatch):
    """Each call had one of its own: a publish could block for three."""
    clock, over = Clock(), threading.Event()
    monkeypatch.setattr(
        "pipeline.kafka.transaction.time", SimpleNamespace(monotonic=clock, time_ns=time.time_ns)
    )
    producer = build(deadline_s=20.0)
    slow = producer._producer.send_offsets_to_transaction

    def late(*args: object) -> None:
        slow(*args)
        clock.step(19.9)

    monkeypatch.setattr(producer._producer, "send_offsets_to_transaction", late)
    monkeypatch.setattr(producer._producer, "commit_transaction", lambda: over.wait(10))
    producer.begin()
    producer.confirm()
    producer.commit_offsets({TopicPartition(name, 0): 1}, group)
    with pytest.raises(TransientError, match=r"KafkaTimeoutError"):
        producer.commit()
    over.set()


def test_a_verb_that_nobody_answers_leaves_no_thread_behind(build, name, group, monkeypatch):
    """Each transaction that outlasted its deadline left a thread and its producer in memory."""
    producer = build()
    producer.begin()
    producer.confirm()
    producer._until = time.monotonic() + 0.5
    monkeypatch.setattr(SluiceKafkaClient, "await_ready", lambda *_, **__: bool(time.sleep(0.05)))
    with pytest.raises(TransientError, match=r"KafkaTimeoutError"):
        producer.commit_offsets({TopicPartition(name, 0): 1}, group)
    producer.close()
    deadline = time.monotonic() + 60
    while waiting := [one.name for one in threading.enumerate() if one.name.endswith(f"id-{name}")]:
        assert time.monotonic() < deadline, waiting
        time.sleep(0.05)


@pytest.mark.slow
def test_a_transaction_outlives_the_death_of_its_broker():
    """Without `await_ready` as we have it the library drops the request and the transaction hangs."""
    with EmbeddedKafka() as broker:
        settings = {"bootstrap_servers": broker.bootstrap_servers}
        topics.create(settings, [topics.NewTopic("t", 1)])
        group, out = ConsumerGroupMetadata(group_id="g"), TopicPartition("t", 0)
        # A broker may take a minute to come back, on a machine that is slow.
        patient = Delivery(transaction_timeout_s=200, delivery_timeout_s=210, deadline_s=200)
        producer = TransactionalProducer(settings, transactional_id="x", delivery=patient)
        producer.init()
        producer.begin()
        producer.send(out, batch(b"v"))
        producer.confirm()

        broker.kill(0)
        with ThreadPoolExecutor(1) as pool:
            offsets = pool.submit(producer.commit_offsets, {out: 1}, group)
            time.sleep(1)
            broker.restart(0)
            offsets.result(timeout=210)
        producer.commit()
        producer.close()

        assert committed_values(settings, out) == [b"v"]


@pytest.mark.slow
def test_every_call_ends_at_its_deadline_when_the_broker_is_gone():
    with EmbeddedKafka() as broker:
        settings = {"bootstrap_servers": broker.bootstrap_servers}
        topics.create(settings, [topics.NewTopic("t", 1)])
        group, out = ConsumerGroupMetadata(group_id="g"), TopicPartition("t", 0)
        producers = [
            TransactionalProducer(settings, transactional_id=f"x{i}", delivery=Delivery(deadline_s=10))
            for i in range(3)
        ]
        for producer in producers:
            producer.init()
            producer.begin()
        sending, offsetting, committing = producers
        sending.send(out, batch(b"v"))
        offsetting.confirm()
        committing.send(out, batch(b"v"))
        committing.confirm()

        broker.kill(0)
        sending.send(out, batch(b"v"))
        for verb in (sending.confirm, lambda: offsetting.commit_offsets({out: 1}, group), committing.commit):
            begun = time.monotonic()
            with pytest.raises(TransientError):
                verb()
            assert time.monotonic() - begun < 30
        begun = time.monotonic()
        for producer in producers:
            producer.close()
        assert time.monotonic() - begun < 30
