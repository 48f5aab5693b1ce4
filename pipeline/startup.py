"""What is checked before a gate takes its first claim: everything whose failure is known at start fails at start.

Each refusal names the setting, and what would be right. Asks the broker; the bundle is opened by `bundles`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pipeline import codec
from pipeline.kafka import topics
from pipeline.publisher import Destination
from pipeline.records import Route
from pipeline.settings import Settings

logger = logging.getLogger(__name__)


def destinations(settings: Settings) -> dict[Route, Destination]:
    """Where each route goes, after a look at the broker.

    Args:
        settings: Of the gate.

    Returns:
        One entry per route that is switched on.

    Raises:
        SettingsError: A topic is missing, an output's partitions are fewer than those of the input, or an
            output does not take the largest message that the gate may send.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
    """
    outputs = settings.topics.outputs
    counts = topics.partition_counts(settings.kafka, [settings.topics.input, *outputs.values()])
    names = {"input": settings.topics.input, **outputs}
    for name, topic in names.items():
        if counts[topic] is None:
            problem = f"there is no topic {topic!r}; create them all with: sluice topics create"
            raise settings.refuse(f"topics.{name}", problem)
    found = _by_route(outputs, counts)
    _enough_partitions(settings, found, counts[settings.topics.input] or 0)
    _large_enough(settings, outputs)
    return found


def places(settings: Settings) -> dict[Route, Destination]:
    """Where each route goes now; refuses nothing. For a gate that runs, when partitions of the input were added.

    Args:
        settings: Of the gate.

    Returns:
        One entry per route that is switched on and has its topic.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us.
        TransientError: Another error of the broker's.
    """
    outputs = settings.topics.outputs
    return _by_route(outputs, topics.partition_counts(settings.kafka, outputs.values()))


def _by_route(outputs: Mapping[str, str], counts: Mapping[str, int | None]) -> dict[Route, Destination]:
    return {Route(route): Destination(topic, n) for route, topic in outputs.items() if (n := counts[topic])}


def _enough_partitions(settings: Settings, found: Mapping[Route, Destination], n_input: int) -> None:
    for route, destination in found.items():
        if not settings.topics.fold_partitions and destination.n_partitions < n_input:
            problem = (
                f"{destination.topic!r} has {destination.n_partitions} partitions, the input has {n_input}; "
                "add partitions, or set topics.fold_partitions: true to share them"
            )
            raise settings.refuse(f"topics.{route}", problem)


def _large_enough(settings: Settings, outputs: Mapping[str, str]) -> None:
    """A message that a topic refuses would end the gate in the middle of its work."""
    limits = settings.limits
    largest = topics.largest_batches(settings.kafka, outputs.values())
    for route, topic in outputs.items():
        takes = largest[topic]
        if takes is None:
            logger.warning("the broker does not show max.message.bytes of %s: not checked", topic)
        elif takes < limits.max_batch_bytes:
            problem = (
                f"{topic!r} takes batches of {takes} bytes (its max.message.bytes), the gate may send "
                f"{limits.max_batch_bytes}: raise that, or, if it takes {codec.BATCH_BYTES} and some, lower "
                f"limits.max_message_bytes ({limits.max_message_bytes}) and limits.max_reject_bytes "
                f"({limits.max_reject_bytes})"
            )
            raise settings.refuse(f"topics.{route}", problem)
