"""What tests of every part share: one real Kafka for the whole run, and topics of their own in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

# Imported where they are used: most tests need no client, and should not wait for one.
if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from pipeline.kafka.embedded import EmbeddedKafka


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """The broker of this test run, started by the first test that asks. Shared: never stop or kill it."""
    from pipeline.kafka.embedded import EmbeddedKafka

    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def admin(kafka: EmbeddedKafka) -> Iterator[KafkaAdminClient]:
    """An admin client of the shared broker."""
    from kafka import KafkaAdminClient

    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers) as client:
        yield client


@pytest.fixture(scope="session")
def topic(admin: KafkaAdminClient) -> Callable[..., str]:
    """Make a topic and return its name: `topic(partitions=3)`. It has its leaders when the call returns."""
    numbers = itertools.count()

    def make(partitions: int = 1, name: str = "t", **configs: str) -> str:
        unique = f"{name}-{os.getpid()}-{next(numbers)}"
        new = {unique: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
        admin.create_topics(new, wait_for_metadata=True)
        return unique

    return make
