"""Questions and orders to the cluster that belong to no running gate: topics, their ends, a group's offsets.

For the command line and for the checks at start. Each function opens a connection, asks, and closes it;
each ends within its deadline. A topic that is absent is an answer; a broker that is absent is an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import kafka as kafka_python
from kafka import KafkaAdminClient, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.protocol.consumer import IsolationLevel, OffsetSpec

from pipeline.errors import BrokerRefused, SettingsError, TransientError
from pipeline.kafka.admin import DEADLINE_S, ask
from pipeline.kafka.client import describe, open_client, translated
from pipeline.kafka.offsets import CommittedOffset, group_offsets
from pipeline.records import TopicPartition

_LARGEST_BATCH = "max.message.bytes"
_LEAST_S = 1.0
"""What the second question of one deadline is given at least."""
_UNSETTLED_S = 5.0
"""A commit that returned is seen within milliseconds; what is open for longer is not about to be committed."""


_NEVER = (
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidPartitionsError,
    kafka_errors.InvalidConfigurationError,
    kafka_errors.PolicyViolationError,
)


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
    kafka: Mapping[str, Any], topics: Iterable[NewTopic], *, deadline_s: float = DEADLINE_S
) -> list[str]:
    """Create those of the topics that are absent, and wait until they have leaders.

    Args:
        kafka: Client settings, see `client.connection`.
        topics: What should be there. One that is there already is left as it is.
        deadline_s: For how long, in seconds.

    Returns:
        The names of those that were created.

    Raises:
        SettingsError: One can never be, such as one whose name differs from that of another by `_` for `.`.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's.
    """
    wanted = {topic.name: topic for topic in topics}

    def make(admin: KafkaAdminClient) -> list[str]:
        absent = [name for name, count in _partition_counts(admin, wanted).items() if count is None]
        if absent:
            new = {
                name: {
                    "num_partitions": wanted[name].partitions,
                    "replication_factor": wanted[name].replication,
                    "configs": dict(wanted[name].configs),
                }
                for name in absent
            }
            try:
                admin.create_topics(new, timeout_ms=round(deadline_s * 1000), wait_for_metadata=True)
            except _NEVER as error:  # however often it is asked
                raise SettingsError(
                    "topics", f"refused by the broker: {describe(error)}", "the call"
                ) from error
        return absent

    return ask(kafka, make, deadline_s=deadline_s, doing="creating topics")


def partition_counts(
    kafka: Mapping[str, Any], topics: Iterable[str], *, deadline_s: float = DEADLINE_S
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
    names = list(topics)
    return ask(
        kafka,
        lambda admin: _partition_counts(admin, names),
        deadline_s=deadline_s,
        doing="looking up topics",
    )


def largest_batches(
    kafka: Mapping[str, Any], topics: Iterable[str], *, deadline_s: float = DEADLINE_S
) -> dict[str, int | None]:
    """The largest record batch that each topic takes: its `max.message.bytes`.

    Args:
        kafka: Client settings, see `client.connection`.
        topics: Names of topics that exist.
        deadline_s: For how long, in seconds.

    Returns:
        Bytes by name; None where the broker does not let us see.

    Raises:
        BrokerUnreachable: No broker answers.
        TransientError: Another error of the broker's.
    """
    names = list(topics)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, [_LARGEST_BATCH]) for name in names]
    try:
        found = ask(
            kafka,
            lambda admin: admin.describe_configs(resources, config_filter="all"),
            deadline_s=deadline_s,
            doing="asking for the settings of topics",
        )
    except BrokerRefused:
        return dict.fromkeys(names)
    # A topic that we may not look at comes back without settings, and without an error.
    values = {name: of_topic.get(_LARGEST_BATCH) for name, of_topic in found.get("topic", {}).items()}
    return {name: int(value["value"]) if (value := values.get(name)) else None for name in names}


def positions(
    kafka: Mapping[str, Any],
    group: str,
    topic: str,
    *,
    wait_s: float = _UNSETTLED_S,
    deadline_s: float = DEADLINE_S,
) -> dict[TopicPartition, CommittedOffset]:
    """The offsets of a topic that a group has committed, without joining it; empty for a group that never was.

    It waits for transactions that are committing offsets, so that what a commit returned for is in it. One that
    stays open, as a gate that was killed leaves it behind, is not waited for longer than `wait_s`: then the
    offsets are those before it.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        topic: What it consumes; one that does not exist has no offsets.
        wait_s: How long to wait for open transactions, in seconds.
        deadline_s: For how long to ask in all, in seconds.

    Returns:
        The next offset to read and its note, by partition.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """
    until = time.monotonic() + deadline_s
    n_partitions = partition_counts(kafka, [topic], deadline_s=deadline_s)[topic] or 0
    sources = [TopicPartition(topic, number) for number in range(n_partitions)]
    if not sources:
        return {}

    def look(isolation_level: str, patience_s: float) -> dict[TopicPartition, CommittedOffset]:
        left_s = max(_LEAST_S, until - time.monotonic())
        consumer = open_client(
            KafkaConsumer,
            {"bootstrap_timeout_ms": round(left_s * 1000), **kafka},
            group_id=group,
            isolation_level=isolation_level,
            enable_auto_commit=False,
            metrics_enabled=False,
        )
        with closing(consumer), translated(f"asking for the offsets of {group}"):
            return group_offsets(consumer, sources, deadline_s=min(patience_s, left_s))

    try:
        return look("read_committed", wait_s)
    except TransientError as error:
        if not isinstance(error.__cause__, kafka_errors.KafkaTimeoutError):
            raise
    return look("read_uncommitted", deadline_s)


def committed(
    kafka: Mapping[str, Any],
    group: str,
    topic: str,
    *,
    wait_s: float = _UNSETTLED_S,
    deadline_s: float = DEADLINE_S,
) -> dict[TopicPartition, int]:
    """The offsets of `positions`, without their notes: it waits and raises as that does.

    Args:
        kafka: Client settings, see `client.connection`.
        group: The consumer group.
        topic: What it consumes; one that does not exist has no offsets.
        wait_s: How long to wait for open transactions, in seconds.
        deadline_s: For how long to ask in all, in seconds.

    Returns:
        The next offset to read, by partition.
    """
    found = positions(kafka, group, topic, wait_s=wait_s, deadline_s=deadline_s)
    return {source: at.offset for source, at in found.items()}


def extents(
    kafka: Mapping[str, Any], topic: str, *, deadline_s: float = DEADLINE_S
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

    def measure(admin: KafkaAdminClient) -> dict[TopicPartition, Extent]:
        n_partitions = _partition_counts(admin, [topic])[topic] or 0
        partitions = [kafka_python.TopicPartition(topic, p) for p in range(n_partitions)]

        def offsets(spec: OffsetSpec, level: IsolationLevel) -> list[int]:
            found = admin.list_partition_offsets(dict.fromkeys(partitions, spec), level)
            return [found[partition].offset for partition in partitions]

        first = offsets(OffsetSpec.EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        stable = offsets(OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
        high = offsets(OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)
        return {
            TopicPartition(*partition): Extent(*offsets_of_it)
            for partition, *offsets_of_it in zip(partitions, first, stable, high, strict=True)
        }

    return ask(kafka, measure, deadline_s=deadline_s, doing=f"asking for the ends of {topic}")


def offsets_at(
    kafka: Mapping[str, Any], topic: str, time_ms: int, *, deadline_s: float = DEADLINE_S
) -> dict[TopicPartition, int | None]:
    """The first offset of each partition whose record is of a time or later; None where there is none.

    Args:
        kafka: Client settings, see `client.connection`.
        topic: Its name.
        time_ms: Epoch milliseconds, held against the records' timestamps.
        deadline_s: For how long, in seconds.

    Returns:
        One entry per partition.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us see.
        TransientError: Another error of the broker's.
    """

    def look(admin: KafkaAdminClient) -> dict[TopicPartition, int | None]:
        n_partitions = _partition_counts(admin, [topic])[topic] or 0
        wanted = {kafka_python.TopicPartition(topic, p): time_ms for p in range(n_partitions)}
        found = admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
        return {TopicPartition(*p): at.offset if at.offset >= 0 else None for p, at in found.items()}

    return ask(kafka, look, deadline_s=deadline_s, doing=f"asking {topic} for a time")


def _partition_counts(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, int | None]:
    names = list(topics)
    counts: dict[str, int | None] = dict.fromkeys(names)
    for found in admin.describe_topics(names):
        if found["error_code"] == 0:
            counts[found["name"]] = len(found["partitions"])
        elif found["error_code"] != kafka_errors.UnknownTopicOrPartitionError.errno:
            raise kafka_errors.for_code(found["error_code"])(found["name"])
    return counts
