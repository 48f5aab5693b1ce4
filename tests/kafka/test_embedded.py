"""The embedded Kafka answers, keeps its data, dies with its parent, and says why it will not start."""

from __future__ import annotations

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

pytestmark = pytest.mark.kafka


def test_what_was_produced_is_read_back(kafka, topic):
    name = topic(partitions=3)
    with KafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        producer.send(name, b"hello", partition=2).get(timeout=10)
    with KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(name, 2)])
        batches = consumer.poll(timeout_ms=10_000)
    assert [record.value for records in batches.values() for record in records] == [b"hello"]
