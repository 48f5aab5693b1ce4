"""One Ray for the whole run: gates join it, so that each test starts in seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from actors.bundle import Bundle
    from pipeline.kafka.embedded import EmbeddedKafka
    from tests.integration.gates import Lab


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of one node on this machine, with more cores than it has: the tests' gates are small."""
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray warns of at start is about machines, not about us
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 8, "object_store_memory": 300 << 20, "include_dashboard": False},
        )
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def lab(
    kafka: EmbeddedKafka, ray_address: str, base_bundle: Bundle, topic: Callable[..., str], tmp_path: Path
) -> Lab:
    """Topics of its own on the shared broker, and gates on the shared Ray."""
    from tests.integration.gates import Lab

    return Lab(kafka, base_bundle.path, topic, tmp_path, ray_address)


@pytest.fixture
def own_broker_lab(ray_address: str, base_bundle: Bundle, tmp_path: Path) -> Iterator[Lab]:
    """A lab with a broker of its own, which it may kill."""
    from pipeline.kafka import topics
    from pipeline.kafka.embedded import EmbeddedKafka
    from tests.integration.gates import Lab

    with EmbeddedKafka() as broker:

        def topic(partitions: int, name: str) -> str:
            topics.create(
                {"bootstrap_servers": broker.bootstrap_servers}, [topics.NewTopic(name, partitions)]
            )
            return name

        yield Lab(broker, base_bundle.path, topic, tmp_path, ray_address)
