"""Questions and orders to the cluster that belong to no running gate: topics, their ends, a group's offsets.

For the command line and for the checks at start. Each function opens a connection, asks, and closes it;
each ends within its deadline. A topic that is absent is an answer; a broker that is absent is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import kafka as kafka_python
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.protocol.consumer import IsolationLevel, OffsetSpec

from pipeline.kafka.client import open_client, translated
from pipeline.records import TopicPartition

_DEADLINE_S = 15.0


class NewTopic(NamedTuple):
    """A topic to create."""

    name: str
    partitions: int
    replication: int = 1
    configs: Mapping[str, str] = {}
    """Topic settings in Kafka's names, such as `retention.ms`."""


class Extent(NamedTuple):
    """What a partition holds, as offsets."""

    earliest: int
    """First offset that still exists."""
    last_stable: int
    """One past the last offset that a read_committed reader may see."""
    high_watermark: int
    """One past the last offset."""


def create(
    kafka: Mapping[str, Any], topics: Iterable[NewTopic], *, deadline_s: float = _DEADLINE_S
) -> list[str]:
    """Create those of the topics that are absent, and wait until they have leaders.

    Args:
        kafka: Client settings, see `client.connection`.
        topics: What should be there. One that is there already is left as it is.
        deadline_s: For how long, in seconds.

    Returns:
        The names of those that were created.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's.
    """
    with _admin(kafka, deadline_s, "creating topics") as admin:
        wanted = {topic.name: topic for topic in topics}
        present = _partition_counts(admin, wanted)
        absent = {
            name: {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replication,
                "configs": dict(topic.configs),
            }
            for name, topic in wanted.items()
            if present[name] is None
        }
        if absent:
            admin.create_topics(absent, timeout_ms=round(deadline_s * 1000), wait_for_metadata=True)
    return list(absent)


def partition_counts(
    kafka: Mapping[str, Any], topics: Iterable[str], *, deadline_s: float = _DEADLINE_S
) -> dict[str, int | None]:
    """How many partitions each topic has; None for one that does not exist.

    Args:
        kafka: Client settings, see `client.connection`.
        topics: Names.
        deadline_s: For how long, in seconds.

    Returns:
        One entry per name.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    with _admin(kafka, deadline_s, "looking up topics") as admin:
        return _partition_counts(admin, topics)


def committed(
    kafka: Mapping[str, Any], group: str, *, deadline_s: float = _DEADLINE_S
) -> dict[TopicPartition, int]:
    """The offsets that a group has committed, without joining it; empty for a group that never was.

    For display: offsets of a transaction that is being committed may not be in it yet.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        deadline_s: For how long, in seconds.

    Returns:
        The next offset to read, by partition.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    with _admin(kafka, deadline_s, f"asking for the offsets of {group}") as admin:
        offsets = admin.list_group_offsets({group: None})[group]
    return {TopicPartition(*source): at.offset for source, at in offsets.items() if at.offset >= 0}


def extents(
    kafka: Mapping[str, Any], topic: str, *, deadline_s: float = _DEADLINE_S
) -> dict[TopicPartition, Extent]:
    """From where to where each partition of a topic reaches; empty for a topic that does not exist.

    Args:
        kafka: Client settings, see `client.connection`.
        topic: Its name.
        deadline_s: For how long, in seconds.

    Returns:
        One entry per partition.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    with _admin(kafka, deadline_s, f"asking for the ends of {topic}") as admin:
        n_partitions = _partition_counts(admin, [topic])[topic] or 0
        partitions = [kafka_python.TopicPartition(topic, p) for p in range(n_partitions)]

        def offsets(spec: OffsetSpec, level: IsolationLevel) -> Mapping[Any, Any]:
            specs = dict.fromkeys(partitions, spec)
            found: Mapping[Any, Any] = admin.list_partition_offsets(specs, level)
            return found

        first = offsets(OffsetSpec.EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        stable = offsets(OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
        high = offsets(OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)
    return {TopicPartition(*p): Extent(first[p].offset, stable[p].offset, high[p].offset) for p in partitions}


@contextmanager
def _admin(kafka: Mapping[str, Any], deadline_s: float, doing: str) -> Iterator[KafkaAdminClient]:
    """An admin client whose every request ends within the deadline."""
    deadline_ms = round(deadline_s * 1000)
    within = {"bootstrap_timeout_ms": deadline_ms, "request_timeout_ms": deadline_ms}
    admin = open_client(KafkaAdminClient, {**within, **kafka})
    try:
        with translated(doing):
            yield admin
    finally:
        admin.close()


def _partition_counts(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, int | None]:
    names = list(topics)
    counts: dict[str, int | None] = dict.fromkeys(names)
    for found in admin.describe_topics(names):
        if found["error_code"] == 0:
            counts[found["name"]] = len(found["partitions"])
        elif found["error_code"] != kafka_errors.UnknownTopicOrPartitionError.errno:
            raise kafka_errors.for_code(found["error_code"])(found["name"])
    return counts
