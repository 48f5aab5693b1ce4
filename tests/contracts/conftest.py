"""The implementations that the contracts are held to. A fake is added to a list here, and has to pass too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import ConsumerGroupMetadata

from pipeline.kafka import topics
from pipeline.kafka.member import GroupMember, Member
from pipeline.kafka.reader import RangeReader, Reader
from pipeline.kafka.transaction import TransactionalProducer, Transactor
from pipeline.records import TopicPartition

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka


class RealKafka:
    """A topic of two partitions on the real broker, and what reads, writes and owns it."""

    def __init__(self, bootstrap_servers: str, topic: str, admin: KafkaAdminClient) -> None:
        self.topic = topic
        self.source = TopicPartition(topic, 0)
        self.group = f"contract-{topic}"
        self._kafka = {"bootstrap_servers": bootstrap_servers}
        self._admin = admin
        self._open = ExitStack()

    def append(self, values: Sequence[bytes]) -> None:
        """Write to partition 0."""
        producer = KafkaProducer(**self._kafka)
        for value in values:
            producer.send(self.topic, value, partition=0)
        producer.close(timeout=60)

    def forget_before(self, offset: int) -> None:
        """Delete the first records of partition 0, as retention does."""
        self._admin.delete_records({kafka_python.TopicPartition(*self.source): offset})

    def reader(self) -> Reader:
        return self._closed_at_end(RangeReader(self._kafka))

    def transactor(self) -> Transactor:
        """Each has the same identity, and is not initialised."""
        return self._closed_at_end(TransactionalProducer(self._kafka, transactional_id=self.group))

    def outsider(self) -> ConsumerGroupMetadata:
        """Metadata under which offsets of a group without members can be committed."""
        return ConsumerGroupMetadata(group_id=self.group)

    def member(self) -> GroupMember:
        member = Member(self._kafka, group=self.group, topic=self.topic)
        self._open.callback(member.close, leave=True)
        return member

    def visible(self) -> list[bytes | None]:
        """What a read_committed reader sees of partition 0, once the transactions in it have ended."""
        end = topics.extents(self._kafka, self.topic)[self.source].high_watermark
        if end == 0:
            return []
        read = self.reader().read(self.source, 0, end, max_records=10_000, max_bytes=1 << 30)
        return [record.value for record in read.records]

    def committed(self) -> dict[TopicPartition, int]:
        return topics.committed(self._kafka, self.group, self.topic)

    def close(self) -> None:
        self._open.close()

    def _closed_at_end(self, part: Any) -> Any:
        self._open.callback(part.close)
        return part


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.kafka)])
def cluster(kafka: EmbeddedKafka, topic: Callable[..., str], admin: KafkaAdminClient) -> Iterator[RealKafka]:
    """A cluster with one topic of two partitions."""
    cluster = RealKafka(kafka.bootstrap_servers, topic(partitions=2, name="contract"), admin)
    yield cluster
    cluster.close()
