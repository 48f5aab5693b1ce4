"""RangeReader on a real broker: exactly the range, again and again, whatever lies in it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from pipeline.errors import TransientError, Undecodable
from pipeline.kafka import topics
from pipeline.kafka.client import NO_LEADER
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.reader import RangeRead, RangeReader
from pipeline.records import TopicPartition

pytestmark = pytest.mark.kafka

ALL = {"max_records": 1_000_000, "max_bytes": 1 << 40}


class NotText(str):
    """A header name that goes over the wire as a byte that UTF-8 does not have."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff"


@pytest.fixture
def reader(settings: dict[str, Any]) -> Iterator[RangeReader]:
    reader = RangeReader(settings, deadline_s=60.0)
    yield reader
    reader.close()


@pytest.fixture
def source(topic: Callable[..., str]) -> TopicPartition:
    return TopicPartition(topic(), 0)


def values(read: RangeRead) -> list[bytes | None]:
    return [record.value for record in read.records]


def numbered(n: int) -> list[bytes]:
    return [b"%d" % i for i in range(n)]


@pytest.fixture
def transaction(kafka: EmbeddedKafka, source: TopicPartition) -> Iterator[Callable[..., None]]:
    """Write values in one transaction: `transaction([b"a"], commit=False)`; it leaves a marker behind."""
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"writer-of-{source.topic}"
    )
    producer.init_transactions()

    def write(content: list[bytes], *, commit: bool = True) -> None:
        producer.begin_transaction()
        for value in content:
            producer.send(source.topic, value, partition=source.partition)
        producer.flush(timeout=60)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()

    yield write
    producer.close(timeout=60)


def test_reads_exactly_the_range_with_everything_that_a_record_holds(reader, fill, source):
    headers = [("traceparent", b"1"), ("twice", b"a"), ("twice", b"b")]
    fill(source, numbered(100), headers)

    read = reader.read(source, 10, 20, **ALL)

    assert values(read) == numbered(100)[10:20]
    assert [record.offset for record in read.records] == list(range(10, 20))
    assert read.end == 20
    assert read.lost_until is None
    first = read.records[0]
    assert (first.key, list(first.headers)) == (b"key", headers)
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60


def test_a_retry_gives_the_same_rows_from_any_reader(reader, fill, source, settings):
    fill(source, numbered(50))
    once = reader.read(source, 5, 45, **ALL)

    assert reader.read(source, 5, 45, **ALL) == once
    other = RangeReader(settings)
    assert other.read(source, 5, 45, **ALL) == once
    other.close()


def test_sequential_claims_cover_the_partition_once(reader, fill, source):
    for _ in range(5):
        fill(source, numbered(30))

    read = [reader.read(source, at, at + 15, **ALL) for at in range(0, 150, 15)]

    assert [r.offset for part in read for r in part.records] == list(range(150))


def test_turns_from_one_partition_to_another_without_waiting(reader, kafka, topic):
    """With the library's default a fetch ahead at the end of one partition holds the next for 0.5 s.

    It fetches ahead when it has given the last record that it had, and goes on to the marker behind it.
    """
    name = topic(partitions=2)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"writer-of-{name}")
    producer.init_transactions()
    producer.begin_transaction()
    for value in numbered(10):
        for partition in (0, 1):
            producer.send(name, value, partition=partition)
    producer.commit_transaction()
    producer.close(timeout=60)
    took_s = []
    for turn in range(10):
        begun = time.monotonic()
        source = TopicPartition(name, turn % 2)
        halves = [reader.read(source, 0, 5, **ALL), reader.read(source, 5, 11, **ALL)]
        assert [value for half in halves for value in values(half)] == numbered(10)
        took_s.append(time.monotonic() - begun)

    assert min(took_s[1:]) < 0.4


def test_the_cap_on_records_gives_a_part_that_can_be_continued(reader, fill, source):
    fill(source, numbered(10))

    first = reader.read(source, 0, 10, max_records=4, max_bytes=1 << 20)
    rest = reader.read(source, first.end, 10, **ALL)

    assert first.end == 4
    assert values(first) + values(rest) == numbered(10)


def test_the_cap_on_bytes_is_met_by_the_record_that_reaches_it(reader, fill, source):
    fill(source, [b"x" * 97] * 10)  # and three bytes of key each

    assert len(reader.read(source, 0, 10, max_records=10, max_bytes=300).records) == 3
    assert len(reader.read(source, 3, 10, max_records=10, max_bytes=301).records) == 4


def test_a_record_beyond_every_cap_comes_alone(fill, source, settings):
    fill(source, [b"y" * 500_000, b"z"])
    reader = RangeReader(settings, fetch_bytes=1_000)

    read = reader.read(source, 0, 2, max_records=10, max_bytes=1)

    assert [len(value or b"") for value in values(read)] == [500_000]
    assert read.end == 1
    reader.close()


def test_a_range_that_ends_in_a_marker_is_covered(reader, transaction, source):
    transaction([b"a", b"b"])

    read = reader.read(source, 0, 3, **ALL)

    assert (values(read), read.end) == ([b"a", b"b"], 3)


def test_a_range_of_nothing_but_a_marker_is_covered(reader, transaction, source):
    transaction([b"a"])

    assert reader.read(source, 1, 2, **ALL) == RangeRead([], 2)


def test_markers_do_not_cost_a_second_fetch_of_the_next_claim(reader, transaction, source):
    """Every message in a transaction of its own: half of the offsets hold markers."""
    for value in numbered(20):
        transaction([value])

    read = [reader.read(source, at, at + 10, **ALL) for at in range(0, 40, 10)]

    assert [value for part in read for value in values(part)] == numbered(20)
    assert [part.end for part in read] == [10, 20, 30, 40]


def test_aborted_records_are_not_seen(reader, transaction, source):
    transaction([b"aborted"], commit=False)
    transaction([b"committed"])

    assert values(reader.read(source, 0, 4, **ALL)) == [b"committed"]


def test_offsets_that_are_gone_are_a_value(reader, fill, source, admin: KafkaAdminClient):
    """Without `auto_offset_reset: none` the reader jumps, and the claim comes back complete and empty."""
    fill(source, numbered(10))
    admin.delete_records({kafka_python.TopicPartition(*source): 6})

    assert reader.read(source, 2, 10, **ALL) == RangeRead([], 6, lost_until=6)
    assert reader.read(source, 2, 4, **ALL) == RangeRead([], 4, lost_until=6)
    assert values(reader.read(source, 6, 10, **ALL)) == numbered(10)[6:]


def test_a_range_beyond_the_end_of_the_log_is_an_error_that_may_pass(reader, fill, source):
    fill(source, numbered(3))

    with pytest.raises(TransientError, match=r"beyond the end"):
        reader.read(source, 50, 60, **ALL)


def test_waiting_for_what_does_not_come_ends_at_the_deadline(settings, fill, source):
    fill(source, numbered(3))
    reader = RangeReader(settings, deadline_s=0.3)

    with pytest.raises(TransientError, match=r"sends nothing"):
        reader.read(source, 3, 4, **ALL)
    reader.close()


def test_a_partition_that_nobody_leads_is_not_waited_for(settings, fill, source, monkeypatch):
    fill(source, numbered(3))
    reader = RangeReader(settings, deadline_s=120.0)
    reader.read(source, 0, 3, **ALL)
    monkeypatch.setattr(reader._consumer._cluster, "leader_for_partition", lambda _: NO_LEADER)
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"sends nothing"):
        reader.read(source, 3, 4, **ALL)
    assert time.monotonic() - began < 60.0, "half of what it waits for a broker"
    reader.close()


def test_an_undecodable_record_is_named_each_time_and_everything_around_it_is_read(reader, fill, source):
    """A consumer that met one spins for ever at the next poll, so each error has to end the consumer."""
    fill(source, numbered(3))
    fill(source, [b"good"])
    fill(source, [b"bad"], [(NotText("?"), b"")])
    fill(source, numbered(2))

    before = reader.read(source, 0, 7, **ALL)
    for _ in range(2):
        with pytest.raises(Undecodable) as caught:
            reader.read(source, before.end, 7, **ALL)
    after = reader.read(source, 5, 7, **ALL)

    assert (values(before), before.end) == ([*numbered(3), b"good"], 4)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == (*source, 4)
    assert values(after) == numbered(2)


def test_a_reader_travels_to_another_process_before_its_first_use(settings, fill, source):
    fill(source, numbered(3))

    reader = pickle.loads(pickle.dumps(RangeReader(settings)))

    assert values(reader.read(source, 0, 3, **ALL)) == numbered(3)
    reader.close()


def test_no_broker_is_an_error_that_may_pass():
    nowhere = {"bootstrap_servers": "127.0.0.1:1", "bootstrap_timeout_ms": 300}

    with pytest.raises(TransientError, match=r"no Kafka broker answered"):
        RangeReader(nowhere).read(TopicPartition("t", 0), 0, 1, **ALL)


@pytest.mark.slow
def test_the_same_reader_goes_on_after_the_broker_came_back():
    with EmbeddedKafka() as broker:
        settings = {"bootstrap_servers": broker.bootstrap_servers, "bootstrap_timeout_ms": 500}
        topics.create({"bootstrap_servers": broker.bootstrap_servers}, [topics.NewTopic("t", 1)])
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers)
        for value in numbered(10):
            producer.send("t", value, partition=0)
        producer.flush(timeout=60)
        producer.close(timeout=60)
        reader = RangeReader(settings, deadline_s=1.0)
        before = in_the_end(reader)

        broker.kill(0)
        for _ in range(2):
            with pytest.raises(TransientError):
                reader.read(TopicPartition("t", 0), 0, 5, **ALL)
        broker.restart(0)
        after = in_the_end(reader)
        reader.close()

    assert values(before) == numbered(10)[:5]
    assert after == before


def in_the_end(reader: RangeReader) -> RangeRead:
    """What it reads, asked again where a slow broker does not answer in time."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return reader.read(TopicPartition("t", 0), 0, 5, **ALL)
        except TransientError:
            assert time.monotonic() < deadline
