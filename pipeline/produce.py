"""Sends candidates to the input topic, as fast as it goes or at a given rate.

Promises that what it counted is with the broker. It takes messages one after the other and holds few of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from pipeline.candidates import Message
from pipeline.errors import SettingsError
from pipeline.kafka import topics
from pipeline.kafka.sender import Sender
from pipeline.settings import Settings

_PROGRESS_EVERY = 500
"""Messages between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What was sent."""

    messages: int
    candidates: int
    """Sound ones."""
    malformed: int
    """Messages, and rows of batch messages, that the gate has to reject."""
    seconds: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def send(
    settings: Settings,
    messages: Iterable[Message],
    *,
    rate: float | None = None,
    compression: str | None = None,
    on_progress: Callable[[Produced], None] | None = None,
) -> Produced:
    """Send messages to the input topic, each keyed, and wait until all are with the broker. Blocks.

    Args:
        settings: The gate's.
        messages: In the order in which they go; those of one key stay in it.
        rate: Messages per second, evenly; None for as fast as it goes.
        compression: `lz4`, `zstd`, `gzip` or None.
        on_progress: Called now and then, and at the end, with what was handed over so far.

    Returns:
        What was sent.

    Raises:
        SettingsError: There is no input topic.
        BrokerUnreachable: No broker answers.
        BrokerRefused: One does, and does not let us write.
        TransientError: A message was not delivered; others may have been.
        DataUnusable: A message cannot be read or sent.
    """
    topic = settings.topics.input
    if topics.partition_counts(settings.kafka, [topic])[topic] is None:
        problem = f"there is no topic {topic!r}; create it with: sluice topics create"
        raise SettingsError("topics.input", problem, "the settings")
    began = time.monotonic()
    n_messages = n_candidates = n_malformed = 0

    def so_far() -> Produced:
        return Produced(n_messages, n_candidates, n_malformed, time.monotonic() - began)

    paced = messages if rate is None else _paced(messages, rate)
    with Sender(
        settings.kafka,
        topic,
        compression=compression,
        linger_ms=20 if rate is None else 0,  # whoever measures latency wants each message at once
        max_request_bytes=settings.limits.max_output_bytes,
    ) as sender:
        for message in paced:
            sender.send(message.key, message.value, message.headers)
            n_messages += 1
            n_candidates += message.n_candidates
            n_malformed += message.n_malformed
            if on_progress is not None and n_messages % _PROGRESS_EVERY == 0:
                on_progress(so_far())
        sender.confirm()
    produced = so_far()
    if on_progress is not None:
        on_progress(produced)
    return produced


def _paced(messages: Iterable[Message], rate: float) -> Iterator[Message]:
    """The messages, each not before its time; one that is late holds up none of those after it."""
    began = time.monotonic()
    for i, message in enumerate(messages):
        time.sleep(max(0.0, began + i / rate - time.monotonic()))
        yield message
