"""Topics, ends and a group's offsets, as the command line and the checks at start ask for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from pipeline.errors import BrokerUnreachable, TransientError
from pipeline.kafka import topics
from pipeline.kafka.embedded import EmbeddedKafka
from pipeline.kafka.topics import Extent, NewTopic
from pipeline.records import TopicPartition

pytestmark = pytest.mark.kafka

NOWHERE = {"bootstrap_servers": "127.0.0.1:1"}


def test_creates_what_is_absent_and_leaves_the_rest_as_it_is(settings: dict[str, Any], topic):
    there, absent = topic(partitions=2), f"new-{os.getpid()}"

    created = topics.create(
        settings, [NewTopic(there, 5), NewTopic(absent, 3, configs={"retention.ms": "1"})]
    )

    assert created == [absent]
    assert topics.partition_counts(settings, [there, absent]) == {there: 2, absent: 3}


def test_an_absent_topic_is_an_answer(settings: dict[str, Any], topic):
    there = topic()

    assert topics.partition_counts(settings, [there, "absent"]) == {there: 1, "absent": None}
    assert topics.extents(settings, "absent") == {}


def test_a_topic_that_cannot_be_is_an_error(settings: dict[str, Any]):
    with pytest.raises(TransientError, match=r"InvalidReplicationFactor"):
        topics.create(settings, [NewTopic(f"wide-{os.getpid()}", 1, replication=3)])


@pytest.mark.parametrize(
    "ask",
    [
        lambda: topics.partition_counts(NOWHERE, ["t"], deadline_s=0.3),
        lambda: topics.committed(NOWHERE, "g", deadline_s=0.3),
        lambda: topics.extents(NOWHERE, "t", deadline_s=0.3),
        lambda: topics.create(NOWHERE, [NewTopic("t", 1)], deadline_s=0.3),
    ],
)
def test_an_absent_broker_is_an_error_within_the_deadline(ask: Callable[[], object]):
    with pytest.raises(BrokerUnreachable, match=r"within 0\.3 s"):
        ask()


def test_a_group_that_never_was_has_committed_nothing(settings: dict[str, Any]):
    assert topics.committed(settings, "never-was") == {}


def test_the_offsets_of_a_group_are_told_without_joining_it(settings: dict[str, Any], topic, admin):
    source = TopicPartition(topic(partitions=2), 1)
    offset = kafka_python.OffsetAndMetadata(42, "", -1)
    admin.alter_group_offsets("told", {kafka_python.TopicPartition(*source): offset})

    assert topics.committed(settings, "told") == {source: 42}


def test_the_extent_of_a_partition_counts_what_is_gone_and_what_is_open(
    settings: dict[str, Any], kafka: EmbeddedKafka, admin: KafkaAdminClient, topic, fill
):
    source = TopicPartition(topic(partitions=2), 0)
    fill(source, [b"a", b"b", b"c"])
    admin.delete_records({kafka_python.TopicPartition(*source): 1})
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id="open")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(source.topic, b"open", partition=0).get(timeout=10)

    found = topics.extents(settings, source.topic)
    producer.abort_transaction()
    producer.close(timeout=5)

    assert found == {source: Extent(1, 3, 4), TopicPartition(source.topic, 1): Extent(0, 0, 0)}
