"""What a group has committed, asked of its coordinator for many partitions at once, within one deadline.

The library's public `committed` asks for one partition at a time, each with a deadline of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

import kafka as kafka_python
from kafka import KafkaConsumer
from kafka import errors as kafka_errors

from pipeline.records import TopicPartition


class CommittedOffset(NamedTuple):
    """What was committed for one partition."""

    offset: int
    """The next offset to read."""
    note: str
    """Kafka's metadata of the offset: what the one who committed it wrote along with it, or nothing."""


_LIBRARY = logging.getLogger("kafka.coordinator.consumer")


def group_offsets(
    consumer: KafkaConsumer, partitions: Iterable[TopicPartition], *, deadline_s: float
) -> dict[TopicPartition, CommittedOffset]:
    """The offsets that the consumer's group has committed. Blocks; joins nothing.

    With the isolation level `read_committed` it waits for transactions that are committing offsets of these
    partitions; with `read_uncommitted` it leaves out what they would bring. It waits for a coordinator, which a
    broker that is new, or just back, does not have for a moment.

    Args:
        consumer: Has the group's id; need not be a member.
        partitions: Which to ask for.
        deadline_s: For how long, in seconds.

    Returns:
        Offset and note; a partition for which nothing was committed is not in it.

    Raises:
        KafkaError: The library's; of these `KafkaTimeoutError` when the deadline has passed.
    """
    asked = [kafka_python.TopicPartition(*source) for source in partitions]
    _LIBRARY.addFilter(_is_news)
    try:
        found = consumer._coordinator.fetch_committed_offsets(  # noqa: SLF001 - see the module
            asked, timeout_ms=round(deadline_s * 1000)
        )
    finally:
        _LIBRARY.removeFilter(_is_news)
    return {
        TopicPartition(*partition): CommittedOffset(int(at.offset), at.metadata or "")
        for partition, at in found.items()
    }


def _is_news(record: logging.LogRecord) -> bool:
    """The library calls each wait for a transaction an unknown error, ten times a second."""
    facts = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(fact, kafka_errors.UnstableOffsetCommitError) for fact in facts)
