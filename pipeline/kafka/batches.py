"""Hands a producer a batch that is encoded already, in the place where its own would be.

kafka-python takes messages one at a time, at 25 µs of one core each; that made the process that commits the
bound of a whole gate. What is entered here is what the library itself enters once a batch is full, so that
sequence numbers, retries and the transaction stay the library's. It reaches into kafka-python 3.0.12, as
`offsets` and `connections` do, in one call: what it relies on is tested against a real broker.
"""

from __future__ import annotations

import threading

from kafka import KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition
from kafka import errors as kafka_errors
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecordsBuilder

from pipeline.records import Batch, TopicPartition

_MAGIC = 2


class _Whole(ProducerBatch):  # type: ignore[misc]  # kafka-python carries no types
    """A batch that is sent as it is, or fails.

    One of several messages that the broker finds too large the library would send in halves, and nobody would
    know of the second. One of a single message fails, so this says that it is one. The sequence numbers do not
    follow from it; the last acknowledged offset does, which is looked at for an error of brokers before 2.5 only.
    """

    record_count = 1

    def abort(self, exception: Exception) -> None:
        """Fail because another batch did; with an error of its own, for the library gives all the same one."""
        super().abort(kafka_errors.KafkaError("given up with another batch", exception))


def enqueue(
    producer: KafkaProducer, target: TopicPartition, batch: Batch, *, time_ms: int
) -> FutureRecordMetadata:
    """Enter a batch into the producer's queue, in the open transaction. Waits for a topic's first metadata only.

    Args:
        producer: Transactional, with a transaction open.
        target: Topic and partition.
        batch: Its messages; at least one.
        time_ms: The time that all of them get, epoch milliseconds.

    Returns:
        Succeeds once the broker has the whole batch.

    Raises:
        KafkaError: The transaction has failed; or the topic has no such partition, or is not known in time.
        MessageSizeTooLargeError: The batch is larger than `max_request_size`.
    """
    size = DefaultRecordBatchBuilder.header_size_in_bytes() + len(batch.body)
    if size > producer.config["max_request_size"]:
        raise kafka_errors.MessageSizeTooLargeError(f"{size} bytes are more than one request may have")
    if target.partition not in (producer.partitions_for(target.topic) or ()):
        raise kafka_errors.UnknownTopicOrPartitionError(str(target))
    partition = KafkaTopicPartition(*target)
    producer._transaction_manager.maybe_add_partition_to_transaction(partition)
    entry = _Whole(partition, records(batch, producer.config["compression_attrs"], time_ms=time_ms))
    future = FutureRecordMetadata(entry.produce_future, 0, time_ms, None, -1, len(batch.body), -1)
    accumulator = producer._accumulator
    with accumulator._tp_lock(partition):
        accumulator._batches[partition].append(entry)
        accumulator._incomplete.add(entry)
    producer._sender.wakeup()
    return future


def records(batch: Batch, compression: int = 0, *, time_ms: int) -> MemoryRecordsBuilder:
    """The library's own builder, as if every message had been appended to it.

    Args:
        batch: Its messages; at least one.
        compression: The library's number of the codec.
        time_ms: The time that all of them get, epoch milliseconds.

    Returns:
        Full, and not closed: producer and sequence are set when it is sent.
    """
    full = MemoryRecordsBuilder(_MAGIC, compression, len(batch.body))
    inner = full._builder
    inner._first_timestamp = inner._max_timestamp = time_ms
    inner._num_records = batch.n_messages
    inner._last_offset = batch.n_messages - 1
    inner._buffer += batch.body
    full.skip(batch.n_messages)
    return full


class Deliveries:
    """Batches under way, and what became of them. Filled by one thread; the library's thread settles them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: list[tuple[TopicPartition, FutureRecordMetadata]] = []
        self._n_open = 0
        self._failed = False
        self._over = threading.Event()
        self._over.set()

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, target: TopicPartition, future: FutureRecordMetadata) -> None:
        """Expect one more."""
        with self._lock:
            self._sent.append((target, future))
            self._n_open += 1
            if not self._failed:
                self._over.clear()
        future.add_callback(self._settle, False)
        future.add_errback(self._settle, True)

    def wait(self, timeout_s: float) -> None:
        """Wait until all are with the broker, or the first has failed: the library may never send the rest then.

        Args:
            timeout_s: For how long, in seconds.
        """
        self._over.wait(timeout_s)

    def failures(self) -> list[tuple[TopicPartition, BaseException | None]]:
        """What is not with the broker: the target, and why; None where there was no answer."""
        return [(target, future.exception) for target, future in self._sent if not future.succeeded()]

    def _settle(self, failed: bool, _: object) -> None:
        with self._lock:
            self._n_open -= 1
            self._failed |= failed
            if self._failed or not self._n_open:
                self._over.set()
