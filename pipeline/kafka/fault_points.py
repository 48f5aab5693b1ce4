"""Where a test may end the keeper: at a named step of a commit. Without the test's setting there is nothing of it.

The environment variable `SLUICE_FAULT_POINT`, such as `after_sends@12`, is read here and nowhere else, once per
session. With it the process ends as by a crash at that step of its twelfth transaction. It stands around the
producer and counts; it knows no broker and no message.
"""

from __future__ import annotations

import enum
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Mapping

from kafka.structs import ConsumerGroupMetadata

from pipeline.kafka.transaction import Transactor
from pipeline.records import Batch, TopicPartition

logger = logging.getLogger(__name__)

VARIABLE = "SLUICE_FAULT_POINT"
LONGEST_COMMIT_S = 0.01
"""Of an idle broker on the same machine; the end comes within it."""


class Step(enum.StrEnum):
    """Where in a commit."""

    BEFORE_BEGIN = "before_begin"
    AFTER_SENDS = "after_sends"
    """The broker has every message."""
    AFTER_OFFSETS = "after_offsets"
    DURING_COMMIT = "during_commit"
    """At a random moment of it."""
    AFTER_COMMIT = "after_commit"
    """It is committed, and nobody has been told."""


def armed(producer: Transactor) -> Transactor:
    """The producer; where a test asks for it, with a fault point around it."""
    point = os.environ.get(VARIABLE)
    if point is None:
        return producer
    step, _, number = point.partition("@")
    return Doomed(producer, Step(step), int(number))


class Doomed:
    """A producer that takes its process down. See `Transactor` for the verbs.

    Args:
        producer: Does the work until then.
        step: Where.
        number: In which transaction, from 1.
    """

    def __init__(self, producer: Transactor, step: Step, number: int) -> None:
        self._producer = producer
        self._step = step
        self._left = number

    @property
    def reusable(self) -> bool:
        """As the producer has it."""
        return self._producer.reusable

    def init(self) -> None:
        """As the producer does."""
        self._producer.init()

    def begin(self) -> None:
        """Count, and begin."""
        self._left -= 1
        self._reach(Step.BEFORE_BEGIN)
        self._producer.begin()

    def send(self, target: TopicPartition, batch: Batch) -> None:
        """As the producer does."""
        self._producer.send(target, batch)

    def confirm(self) -> None:
        """As the producer does; then the sends are through."""
        self._producer.confirm()
        self._reach(Step.AFTER_SENDS)

    def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], group: ConsumerGroupMetadata, *, note: str = ""
    ) -> None:
        """As the producer does; then the offsets are."""
        self._producer.commit_offsets(offsets, group, note=note)
        self._reach(Step.AFTER_OFFSETS)

    def commit(self) -> None:
        """As the producer does, unless the end comes first."""
        if self._step is Step.DURING_COMMIT and self._left == 0:
            threading.Thread(target=_end_soon, daemon=True).start()
        self._producer.commit()
        self._reach(Step.AFTER_COMMIT)

    def close(self) -> None:
        """As the producer does."""
        self._producer.close()

    def _reach(self, step: Step) -> None:
        if step is self._step and self._left == 0:
            _end(step)


def _end_soon() -> None:
    time.sleep(random.uniform(0.0, LONGEST_COMMIT_S))
    _end(Step.DURING_COMMIT)


def _end(step: Step) -> None:
    logger.error("a test ends this process: %s", step)
    os.kill(os.getpid(), signal.SIGKILL)
