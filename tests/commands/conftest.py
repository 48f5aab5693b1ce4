"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.kafka.embedded import EmbeddedKafka


@pytest.fixture
def sets(kafka: EmbeddedKafka, topics: Callable[..., list[str]]) -> list[str]:
    """The settings of a gate with topics of its own, as `--set` takes them."""
    routes = ("input", "prune", "review", "pass", "reject")
    names = dict(zip(routes, topics(*routes), strict=True))
    values = {
        "bundle": "none",
        "kafka.bootstrap_servers": kafka.bootstrap_servers,
        "gate.group": f"group-of-{names['input']}",
        **{f"topics.{name}": value for name, value in names.items()},
    }
    return [f"{name}={value}" for name, value in values.items()]
