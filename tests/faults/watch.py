"""When verdicts come into sight: a read_committed reader of the outputs that keeps the time."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import kafka as kafka_python
from kafka import KafkaConsumer
from kafka import errors as kafka_errors

from pipeline.errors import SluiceError
from pipeline.kafka.client import open_client
from pipeline.records import Route
from pipeline.settings import Settings
from tests.faults.background import Background

STUCK_S = 15.0
"""A reader that sees nothing for so long is built anew: it must not be what a fault is measured by."""


class Watch(Background):
    """Reads the outputs from `with` to its end, in a thread; a context manager.

    Args:
        settings: The gate's.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._positions: dict[kafka_python.TopicPartition, int] = {}
        self._seen: list[tuple[float, float]] = []  # when it came, and the latest of its timestamps, epoch s
        self._lock = threading.Lock()
        self.n_seen = 0
        """Verdicts and rejects in sight so far; one message each, as long as the input has no batches."""

    def first_since(self, moment: float) -> float | None:
        """When the first verdict came into sight that was written after a moment; None if none has.

        Args:
            moment: `time.time()`, as the verdicts' timestamps are; so is the answer.
        """
        with self._lock:
            return next((came for came, written in self._seen if written > moment), None)

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time without a new verdict between two moments, in seconds."""
        with self._lock:
            came = [at for at, _ in self._seen if since < at < until]
        return max(later - earlier for earlier, later in pairwise([since, *came, until]))

    def run(self) -> None:
        """Follow the outputs, with another reader whenever one fails."""
        while not self.stopping.is_set():
            try:
                self._follow()
            except (SluiceError, kafka_errors.KafkaError):
                self.stopping.wait(0.5)

    def _follow(self) -> None:
        consumer = open_client(
            KafkaConsumer,
            self._settings.kafka,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        try:
            outputs = self._settings.topics.outputs
            partitions = [
                kafka_python.TopicPartition(topic, number)
                for route, topic in outputs.items()
                if route != Route.AUDIT
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            consumer.assign(partitions)
            for partition, offset in self._positions.items():
                consumer.seek(partition, offset)
            moved_at = time.monotonic()
            while not self.stopping.is_set() and time.monotonic() - moved_at < STUCK_S:
                if self._take(consumer.poll(timeout_ms=100)):
                    moved_at = time.monotonic()
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)

    def _take(self, polled: dict[kafka_python.TopicPartition, list]) -> bool:
        records = [record for of_one in polled.values() for record in of_one]
        if not records:
            return False
        with self._lock:
            self._seen.append((time.time(), max(record.timestamp for record in records) / 1000))
            self.n_seen += len(records)
        self._positions |= {partition: of_one[-1].offset + 1 for partition, of_one in polled.items()}
        return True
