"""Labs: topics of their own, and gates that join the one Ray of the run, so that each starts in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from actors.bundle import Bundle
    from pipeline.kafka.embedded import EmbeddedKafka
    from tests.integration.gates import Lab


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
