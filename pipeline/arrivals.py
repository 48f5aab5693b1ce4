"""How much has come in lately, by how far the partitions reach. Knows neither the broker nor what is planned."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from pipeline.records import TopicPartition

N_LOOKS = 30
"""Looks that are kept: what came in is known to a thirtieth of its time."""


class Arrivals:
    """Counts what came in within a time that ends now.

    Args:
        over_s: How long that time is, in seconds.
        clock: `time.monotonic`, or a test's.
    """

    def __init__(self, over_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._over_s = over_s
        self._clock = clock
        self._looks: deque[tuple[float, Mapping[TopicPartition, int]]] = deque()

    def look(self, ends: Mapping[TopicPartition, int]) -> int:
        """Note how far the partitions reach now.

        Args:
            ends: By partition; others than before are taken as they come.

        Returns:
            Offsets that came in since `over_s` ago, or since the first look after that.
        """
        now = self._clock()
        if not self._looks or now - self._looks[-1][0] >= self._over_s / N_LOOKS:
            self._looks.append((now, ends))
        while now - self._looks[0][0] > self._over_s:
            self._looks.popleft()
        _, then = self._looks[0]
        return sum(max(0, end - then[source]) for source, end in ends.items() if source in then)
