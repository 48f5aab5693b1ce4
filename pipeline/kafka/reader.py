"""Reads exactly the range of a claim: the same range gives the same records, however often it is asked for.

What it promises: committed records only, in offset order, with nothing outside the range; a place where
offsets are gone is a value, not an exception; a read makes progress or raises within its deadline.
It joins no group, commits nothing, and does not know what a record means.

A range may hold fewer records than offsets (compaction, aborted transactions, the markers that every
transaction leaves): it is covered when the position has reached its end, whatever came out on the way.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import kafka
from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import ConsumerRecord

from pipeline.errors import BrokerUnreachable, TransientError, Undecodable
from pipeline.kafka.client import NO_LEADER, describe, open_client, translated
from pipeline.records import Record, TopicPartition

_POLL_MS = 20
"""How long one poll waits. Claims lie below the last stable offset, so data is there; only a range that
ends in markers waits this long, once."""

_UNLED_S = 1.0
"""How long to wait for a partition that nobody leads: claims of others wait behind this one meanwhile."""

_offset = itemgetter(ConsumerRecord._fields.index("offset"))
_key_size = itemgetter(ConsumerRecord._fields.index("serialized_key_size"))
_value_size = itemgetter(ConsumerRecord._fields.index("serialized_value_size"))


class RangeRead(NamedTuple):
    """What reading a range gave."""

    records: list[Record]
    """In offset order; each within the range."""
    end: int
    """One past the last offset that this covers; below the range's end when a cap was met."""
    lost_until: int | None = None
    """The earliest offset that still exists, when the range's start is gone; `records` is then empty."""


class Reader(Protocol):
    """What Prepare reads from."""

    def read(
        self, source: TopicPartition, start: int, end: int, *, max_records: int, max_bytes: int
    ) -> RangeRead:
        """See `RangeReader.read`."""

    def close(self) -> None:
        """Let go of the connections."""


class RangeReader:
    """Reads ranges through one consumer, which it keeps between ranges and replaces after any error.

    Cheap to construct (connects on first use); picklable until then. Not thread-safe. A range that
    continues where the last one of the same partition ended costs no seek and no second fetch.

    Args:
        kafka: Client settings, see `client.connection`.
        deadline_s: How long one `read` may go without a step forward, in seconds.
        fetch_bytes: What the broker sends at most per fetch, and so what is fetched in vain at most when
            the next claim of the partition goes to another reader. A larger batch is still read.
    """

    def __init__(
        self, kafka: Mapping[str, Any], *, deadline_s: float = 20.0, fetch_bytes: int = 1 << 20
    ) -> None:
        self._kafka = dict(kafka)
        self._deadline_s = deadline_s
        self._fetch_bytes = fetch_bytes
        self._consumer: KafkaConsumer | None = None
        self._source: TopicPartition | None = None
        self._polled: list[ConsumerRecord] = []  # not handed out yet
        self._position = 0  # the consumer's: one past all that was polled
        self._next = 0  # where the last read ended

    def read(
        self, source: TopicPartition, start: int, end: int, *, max_records: int, max_bytes: int
    ) -> RangeRead:
        """Read `[start, end)`, or as much of it as the caps allow.

        Blocks. At least one record comes back if the range holds one, however large it is.

        Args:
            source: The partition.
            start: First offset.
            end: One past the last offset; at most the last stable offset, or the read waits for it.
            max_records: Cap on records, at least 1.
            max_bytes: Cap on the bytes of keys and values, met by the record that reaches it.

        Returns:
            The records and how far they cover the range; ask again from there for the rest.

        Raises:
            TransientError: The broker is not there, or gave nothing within the deadline.
            BrokerRefused: The broker does not let us read.
            Undecodable: The record batch at the offset that it names cannot be decoded.
        """
        finished = False
        try:
            consumer = self._seek(source, start)
            try:
                result = self._read(consumer, end, max_records, max_bytes)
            except kafka_errors.OffsetOutOfRangeError:
                return self._lost(consumer, source, start, end)
            finished = True
        finally:
            if not finished:
                # A consumer that raised is never polled again: the library spins on the same batch.
                self.close()
        self._next = result.end
        return result

    def close(self) -> None:
        """Drop the consumer; the next read opens another one."""
        consumer, self._consumer = self._consumer, None
        self._source, self._polled = None, []
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1_000)

    def _seek(self, source: TopicPartition, start: int) -> KafkaConsumer:
        """The consumer, ready to go on from `start`."""
        if self._consumer is None:
            self._consumer = self._open(source)
        partition = kafka.TopicPartition(*source)
        if self._source != source:
            self._consumer.assign([partition])
        if self._source != source or self._next != start:
            self._consumer.seek(partition, start)
            self._source, self._position, self._polled = source, start, []
        return self._consumer

    def _open(self, source: TopicPartition) -> KafkaConsumer:
        try:
            return open_client(
                KafkaConsumer,
                self._kafka,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                # The default jumps to the end, and a claim would come back empty and complete.
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=self._fetch_bytes,
                # A fetch ahead at the end of the log must not hold back the next partition's.
                fetch_max_wait_ms=_POLL_MS // 2,
                metrics_enabled=False,
            )
        except BrokerUnreachable as error:
            raise TransientError(f"reading {source}", str(error)) from error

    def _read(self, consumer: KafkaConsumer, end: int, max_records: int, max_bytes: int) -> RangeRead:
        """Poll until the range is covered or a cap is met."""
        found: list[ConsumerRecord] = []
        n_bytes = 0
        moved_at = time.monotonic()
        while self._covered < end and len(found) < max_records and n_bytes < max_bytes:
            if not self._polled:
                before = self._position
                try:
                    self._poll(consumer, min(max_records - len(found), end - before))
                except (Undecodable, kafka_errors.OffsetOutOfRangeError):
                    if not found:
                        raise
                    self.close()  # what was read so far is good; the next read meets the error alone
                    return RangeRead(_records(found), before)
                if self._position > before:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > self._patience_s(consumer):
                    raise TransientError(f"reading {self._source}@{before}", "the broker sends nothing")
            taken, self._polled = _split(self._polled, end, max_records - len(found), max_bytes - n_bytes)
            found += taken
            n_bytes += _n_bytes(taken)
        return RangeRead(_records(found), min(self._covered, end))

    def _patience_s(self, consumer: KafkaConsumer) -> float:
        partition = kafka.TopicPartition(*self._source or ("", -1))
        led = consumer._cluster.leader_for_partition(partition) != NO_LEADER  # noqa: SLF001 - as in `member`
        return self._deadline_s if led else min(self._deadline_s, _UNLED_S)

    @property
    def _covered(self) -> int:
        """Up to where everything has been handed out."""
        return int(_offset(self._polled[0])) if self._polled else self._position

    def _poll(self, consumer: KafkaConsumer, max_records: int) -> None:
        """Ask once for more; moves the position."""
        partition = kafka.TopicPartition(*self._source or ("", -1))
        here = f"{self._source}@{self._position}"
        try:
            polled = consumer.poll(timeout_ms=_POLL_MS, max_records=max_records)
            position = consumer.position(partition, timeout_ms=_POLL_MS)
        except kafka_errors.OffsetOutOfRangeError:
            raise
        except (kafka_errors.CorruptRecordError, kafka_errors.UnsupportedCodecError) as error:
            raise Undecodable(
                partition.topic, partition.partition, self._position, describe(error)
            ) from error
        except kafka_errors.KafkaError:
            with translated(f"reading {here}"):
                raise
        self._polled = polled.get(partition, [])
        if position is not None:
            self._position = position

    def _lost(self, consumer: KafkaConsumer, source: TopicPartition, start: int, end: int) -> RangeRead:
        """What to answer when the broker has no such offset; the consumer is spent."""
        partition = kafka.TopicPartition(*source)
        with translated(f"asking for the first offset of {source}"):
            earliest = consumer.beginning_offsets([partition], timeout_ms=self._deadline_s * 1000)[partition]
        if earliest <= start:
            raise TransientError(f"reading {source}@{start}", "the offset is beyond the end of the log")
        return RangeRead([], min(earliest, end), earliest)


def _split(
    polled: list[ConsumerRecord], end: int, max_records: int, max_bytes: int
) -> tuple[list[ConsumerRecord], list[ConsumerRecord]]:
    """Cut polled records where the range or a cap ends; the whole list untouched in the usual case."""
    n = len(polled)
    if n and _offset(polled[-1]) >= end:
        n = bisect.bisect_left(polled, end, key=_offset)
    n = min(n, max_records)
    if _n_bytes(polled) > max_bytes:
        sums = itertools.accumulate(max(0, _key_size(m)) + max(0, _value_size(m)) for m in polled[:n])
        n = bisect.bisect_left(list(sums), max_bytes) + 1 if n else 0
    return (polled, []) if n >= len(polled) else (polled[:n], polled[n:])


def _n_bytes(records: Sequence[ConsumerRecord]) -> int:
    """Bytes of keys and values; a null counts as -1, which the cap can bear."""
    return int(sum(map(_key_size, records)) + sum(map(_value_size, records)))


def _records(found: Sequence[ConsumerRecord]) -> list[Record]:
    return [Record(m.offset, m.timestamp, m.key, m.value, m.headers) for m in found]
