"""A batch that was encoded elsewhere, through the library's producer and a real broker."""

from __future__ import annotations

import itertools
import time

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors
from kafka.future import Future

from pipeline.codec import encode_batches
from pipeline.kafka.batches import Deliveries, enqueue
from pipeline.records import Output, Route, TopicPartition
from tests.messages import batch

pytestmark = pytest.mark.kafka
NUMBERS = itertools.count()
TIME_MS = 1_700_000_000_000


@pytest.fixture
def producing(settings):
    """Open a transactional producer with a transaction begun."""
    opened = []

    def open_one(**config):
        producer = KafkaProducer(**settings, **config, transactional_id=f"batches-{next(NUMBERS)}")
        opened.append(producer)
        producer.init_transactions()
        producer.begin_transaction()
        return producer

    yield open_one
    for producer in opened:
        producer.close(timeout=60)


def read(settings, target, n):
    source = KafkaTopicPartition(*target)
    with KafkaConsumer(
        **settings, isolation_level="read_committed", auto_offset_reset="earliest", consumer_timeout_ms=60_000
    ) as reader:
        reader.assign([source])
        return list(itertools.islice(reader, n))


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd"])
def test_a_reader_finds_every_message_as_it_was(settings, topic, producing, compression):
    target = TopicPartition(topic(), 0)
    outputs = [
        Output(Route.PASS, b"k%d" % i if i % 3 else None, b"v" * i, [("h", b"1")] * (i % 2))
        for i in range(300)
    ]
    producer = producing(compression_type=compression)
    futures = [
        enqueue(producer, target, one, time_ms=TIME_MS)
        for start in range(0, 300, 100)
        for one in encode_batches(outputs[start : start + 100])
    ]
    producer.flush(timeout=60)
    assert [future.get(timeout=1).offset for future in futures] == [0, 100, 200]
    producer.commit_transaction()

    found = read(settings, target, 300)
    assert [Output(Route.PASS, one.key, one.value, list(one.headers)) for one in found] == outputs
    assert [one.offset for one in found] == list(range(300))
    assert {one.timestamp for one in found} == {TIME_MS}


def test_the_sequence_goes_on_over_batches_and_transactions(settings, topic, producing):
    """With a gap or a repeat in the sequence numbers the broker refuses the next batch."""
    target, producer = TopicPartition(topic(), 0), producing()
    for n in (3, 1, 5):
        future = enqueue(producer, target, batch(*[b"%d" % n] * n), time_ms=TIME_MS)
        producer.flush(timeout=60)
        future.get(timeout=1)
        producer.commit_transaction()
        producer.begin_transaction()
    assert [one.value for one in read(settings, target, 9)] == [b"3"] * 3 + [b"1"] + [b"5"] * 5


def test_a_batch_that_the_broker_finds_too_large_fails_and_is_never_sent_in_halves(topic, producing):
    target, producer = TopicPartition(topic(**{"max.message.bytes": "1000"}), 0), producing()
    future = enqueue(producer, target, batch(bytes(600), bytes(600)), time_ms=TIME_MS)
    producer.flush(timeout=60)
    with pytest.raises(kafka_errors.MessageSizeTooLargeError):
        future.get(timeout=5)


def test_a_batch_larger_than_a_request_is_refused(topic, producing):
    producer = producing(max_request_size=1000)
    with pytest.raises(kafka_errors.MessageSizeTooLargeError):
        enqueue(producer, TopicPartition(topic(), 0), batch(bytes(1000)), time_ms=TIME_MS)


def test_a_partition_that_there_is_not_is_refused(topic, producing):
    with pytest.raises(kafka_errors.UnknownTopicOrPartitionError):
        enqueue(producing(), TopicPartition(topic(), 7), batch(b"v"), time_ms=TIME_MS)


def test_without_an_open_transaction_nothing_is_entered(topic, producing):
    producer = producing()
    producer.abort_transaction()
    with pytest.raises(kafka_errors.KafkaError):
        enqueue(producer, TopicPartition(topic(), 0), batch(b"v"), time_ms=TIME_MS)
    producer.begin_transaction()
    producer.commit_transaction()


TARGET = TopicPartition("t", 0)


def test_deliveries_are_over_when_all_have_arrived():
    deliveries, futures = Deliveries(), [Future(), Future()]
    for future in futures:
        deliveries.add(TARGET, future)
    futures[0].success(1)
    assert deliveries.failures() == [(TARGET, None)]
    futures[1].success(2)
    begun = time.monotonic()
    deliveries.wait(60)
    assert time.monotonic() - begun < 30
    assert deliveries.failures() == []


def test_the_first_failure_ends_the_wait_for_all():
    """After a new epoch the library never sends what waited: the whole deadline went by, and hid the reason."""
    deliveries, futures = Deliveries(), [Future(), Future(), Future()]
    for future in futures:
        deliveries.add(TARGET, future)
    problem = kafka_errors.InvalidProducerEpochError()
    futures[1].failure(problem)
    futures[0].success(1)
    begun = time.monotonic()
    deliveries.wait(60)
    assert time.monotonic() - begun < 30
    assert deliveries.failures() == [(TARGET, problem), (TARGET, None)]


def test_where_nothing_is_under_way_there_is_nothing_to_wait_for():
    begun = time.monotonic()
    Deliveries().wait(60)
    assert time.monotonic() - begun < 30
