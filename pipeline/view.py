"""What a gate shows of itself, safe to ask from any thread: the keeper writes it, the doors read it.

Facts are replaced as a whole, never changed, so that a reader sees one moment. See `doors.State`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.metrics import Metrics

RATE_OVER_S = 10.0
"""The rate is the average over about so long."""


class View:
    """The latest facts of one gate.

    Args:
        metrics: Shown as they are.
        stands_still_s: A loop that has not turned for so long is not alive: no turn may take longer. Seconds.
        clock: `time.monotonic`, or a test's.
    """

    def __init__(
        self, metrics: Metrics, *, stands_still_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._stands_still_s = stands_still_s
        self._clock = clock
        self._turned_at = clock()
        self._facts: Mapping[str, Any] = {"not_ready": "starting", "records": 0}
        self._samples: deque[tuple[float, int]] = deque()
        self._lift_asked = threading.Event()

    def turned(self) -> None:
        """Say that the loop turns."""
        self._turned_at = self._clock()

    def show(self, facts: Mapping[str, Any]) -> None:
        """Replace the facts.

        Args:
            facts: JSON-able; `not_ready` says why no verdicts come now, or None; `records` counts the
                messages settled since the start; `lag` those that wait. What follows from them is added here.
        """
        now = self._clock()
        self._samples.append((now, facts["records"]))
        while now - self._samples[0][0] > RATE_OVER_S and len(self._samples) > 2:
            self._samples.popleft()
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        rate = (last - first) / (ended - began) if ended > began else 0.0
        drain_s = facts["lag"] / rate if rate else math.inf if facts["lag"] else 0.0
        self._metrics.set_drain(drain_s)
        self._facts = {
            **facts,
            "ready": facts["not_ready"] is None,
            "records_per_s": round(rate, 1),
            "drain_s": round(drain_s, 1) if math.isfinite(drain_s) else None,
        }

    def take_lift(self) -> bool:
        """Whether somebody has asked to lift the brake since the last call."""
        if not self._lift_asked.is_set():
            return False
        self._lift_asked.clear()
        return True

    def exposition(self) -> bytes:
        """The metrics, in Prometheus' text format."""
        return self._metrics.exposition()

    def alive(self) -> bool:
        """Whether the loop still turns."""
        return self._clock() - self._turned_at < self._stands_still_s

    def not_ready(self) -> str | None:
        """Why no verdicts come now; None when they do."""
        reason: str | None = self._facts["not_ready"]
        return reason

    def status(self) -> dict[str, Any]:
        """Facts for a person, JSON-able."""
        return dict(self._facts)

    def lift_brake(self) -> None:
        """Ask the loop to lift the brake."""
        self._lift_asked.set()
