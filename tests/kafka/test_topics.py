"""Topics, ends and a group's offsets, as the command line and the checks at start ask for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kafka as kafka_python
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors
from kafka.structs import ConsumerGroupMetadata

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
        lambda: topics.committed(NOWHERE, "g", "t", deadline_s=0.3),
        lambda: topics.extents(NOWHERE, "t", deadline_s=0.3),
        lambda: topics.create(NOWHERE, [NewTopic("t", 1)], deadline_s=0.3),
    ],
)
def test_an_absent_broker_is_an_error_within_the_deadline(ask: Callable[[], object]):
    with pytest.raises(BrokerUnreachable, match=r"within 0\.3 s"):
        ask()


def test_the_largest_batch_that_a_topic_takes_is_its_own_or_the_broker_s(settings: dict[str, Any], topic):
    own, default = topic(**{"max.message.bytes": "5000"}), topic()

    found = topics.largest_batches(settings, [own, default])

    assert found[own] == 5000
    assert (found[default] or 0) > 5000


def test_where_the_broker_does_not_show_the_settings_of_a_topic_nothing_is_known(
    settings: dict[str, Any], topic, monkeypatch
):
    name = topic()

    def refuse(*_: object, **__: object) -> None:
        raise kafka_errors.ClusterAuthorizationFailedError

    monkeypatch.setattr(KafkaAdminClient, "describe_configs", lambda *_, **__: {"topic": {name: {}}})
    assert topics.largest_batches(settings, [name]) == {name: None}
    monkeypatch.setattr(KafkaAdminClient, "describe_configs", refuse)
    assert topics.largest_batches(settings, [name]) == {name: None}


def test_a_group_that_never_was_and_a_topic_that_is_not_there_have_no_offsets(
    settings: dict[str, Any], topic
):
    assert topics.committed(settings, "never-was", topic()) == {}
    assert topics.committed(settings, "never-was", "absent") == {}


def test_the_offsets_of_a_group_are_told_without_joining_it(settings: dict[str, Any], topic, admin):
    source = TopicPartition(topic(partitions=2), 1)
    offset = kafka_python.OffsetAndMetadata(42, "", -1)
    admin.alter_group_offsets("told", {kafka_python.TopicPartition(*source): offset})

    assert topics.committed(settings, "told", source.topic) == {source: 42}
    assert admin.describe_groups(["told"])["told"]["members"] == []


@pytest.fixture
def committing(settings: dict[str, Any], topic) -> Iterator[tuple[KafkaProducer, TopicPartition]]:
    """A producer in the middle of a transaction, and the partition whose offset 7 it holds for its group."""
    source = TopicPartition(topic(), 0)
    producer = KafkaProducer(**settings, transactional_id=f"of-{source.topic}")
    producer.init_transactions()
    producer.begin_transaction()
    offset = kafka_python.OffsetAndMetadata(7, "", -1)
    group = ConsumerGroupMetadata(group_id=source.topic)
    producer.send_offsets_to_transaction({kafka_python.TopicPartition(*source): offset}, group)
    yield producer, source
    producer.close(timeout=60)


def test_offsets_that_are_being_committed_are_waited_for(settings: dict[str, Any], committing):
    """`sluice reconcile` right after a gate had stopped accounted for nothing."""
    producer, source = committing
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(topics.committed, settings, source.topic, source.topic, wait_s=30)
        time.sleep(1)
        producer.commit_transaction()
        assert asked.result(timeout=60) == {source: 7}


def test_a_transaction_that_stays_open_is_not_waited_for_longer_than_was_said(
    settings: dict[str, Any], committing, admin: KafkaAdminClient, caplog
):
    _, source = committing
    admin.alter_group_offsets(
        source.topic, {kafka_python.TopicPartition(*source): kafka_python.OffsetAndMetadata(3, "", -1)}
    )
    begun = time.monotonic()

    assert topics.committed(settings, source.topic, source.topic, wait_s=0.5, deadline_s=120) == {source: 3}
    assert 0.5 < time.monotonic() - begun < 60
    assert "Unknown error" not in caplog.text


@pytest.mark.slow
def test_a_broker_that_is_new_is_given_time_to_find_a_coordinator():
    with EmbeddedKafka() as broker:
        settings = {"bootstrap_servers": broker.bootstrap_servers}
        topics.create(settings, [NewTopic("t", 1)])
        assert topics.committed(settings, "g", "t") == {}


def test_the_extent_of_a_partition_counts_what_is_gone_and_what_is_open(
    settings: dict[str, Any], kafka: EmbeddedKafka, admin: KafkaAdminClient, topic, fill
):
    source = TopicPartition(topic(partitions=2), 0)
    fill(source, [b"a", b"b", b"c"])
    admin.delete_records({kafka_python.TopicPartition(*source): 1})
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id="open")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(source.topic, b"open", partition=0).get(timeout=60)

    found = topics.extents(settings, source.topic)
    producer.abort_transaction()
    producer.close(timeout=60)

    assert found == {source: Extent(1, 3, 4), TopicPartition(source.topic, 1): Extent(0, 0, 0)}
