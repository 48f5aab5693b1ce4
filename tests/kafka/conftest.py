"""What the tests of the Kafka layer share: the settings of the shared broker, and ways to fill a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaProducer

from pipeline.records import Headers, TopicPartition

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka

Message = tuple[bytes | None, bytes | None, Headers]


@pytest.fixture
def settings(kafka: EmbeddedKafka) -> dict[str, Any]:
    """The `kafka:` mapping of the shared broker."""
    return {"bootstrap_servers": kafka.bootstrap_servers}


@pytest.fixture(scope="session")
def plain_producer(kafka: EmbeddedKafka) -> Iterator[KafkaProducer]:
    """An ordinary producer of the shared broker, not ours."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, linger_ms=5)
    yield producer
    producer.close(timeout=60)


@pytest.fixture
def fill(plain_producer: KafkaProducer) -> Callable[..., None]:
    """Write values into a partition, all in one batch: `fill(source, [b"a", b"b"])`."""

    def write(source: TopicPartition, values: Sequence[bytes | None], headers: Headers = ()) -> None:
        for value in values:
            plain_producer.send(source.topic, value, b"key", list(headers), source.partition)
        plain_producer.flush(timeout=60)

    return write
