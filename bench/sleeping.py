"""A scorer that takes a chosen time and no CPU, so that replicas can be many where cores are few."""

from __future__ import annotations

import time

from actors.scorer import Scores
from actors.tokens import Tokens
from bench.trivial import PREPARER, TrivialScorer

SLEEPING = (PREPARER, "pool.scorer=bench.sleeping:SleepingScorer", "pool.cpus_per_replica=0.25")
"""The settings that name it; replicas take no more of a core than this."""
SECONDS_PER_ROW = 0.001
"""Between what a CPU thread takes (10 ms) and what a GPU does (0.015 ms) with a small encoder."""


class SleepingScorer(TrivialScorer):
    """As the trivial one, once it has slept for each row."""

    def score(self, tokens: Tokens) -> Scores:
        """Sleep, then score."""
        time.sleep(SECONDS_PER_ROW * len(tokens))
        return super().score(tokens)
