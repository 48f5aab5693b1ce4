"""How much may wait: a request is let in while what is before it takes no longer than a bound, as measured.

Promises that an idle door lets in whatever comes, and that who is refused hears when to come again. What waits is
counted in padded tokens, from the moment a request is let in to its answer; before its tokens are made, by the
average pair's. Plain Python, in the one process that every request goes through; nothing here blocks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.serving.errors import Kind, Refusal
from pipeline.serving.values import Batch, Judged, Scored

_KEPT = 0.9
"""Of what was measured before, when something new is: the last ten batches or requests count most."""
_TELLS_FROM = 0.25
"""Share of a full batch below which one says nothing about the rate under load."""
_HEARD_S = 60.0
"""A replica that has answered within this time counts."""


class Admission:
    """What is in work, and what the replicas do with it.

    Args:
        max_wait_s: Bound on what is before a request that is let in, in seconds.
        max_tokens: The bundle's ceiling on the tokens of a pair.
        budget_tokens: Padded tokens in a full batch.
        clock: `time.monotonic`, or a test's.
    """

    def __init__(
        self,
        *,
        max_wait_s: float,
        max_tokens: int,
        budget_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_wait_s = max_wait_s
        self._tells_from = _TELLS_FROM * budget_tokens
        self._clock = clock
        self._waiting = 0.0
        self._n_requests = 0
        # Of the latest requests and batches, older ones fading. A pair is long until one was seen.
        self._pairs, self._pair_tokens = 1.0, float(max_tokens)
        self._batch_tokens, self._batch_s = 0.0, 0.0
        self._heard: dict[str, float] = {}

    @property
    def n_requests(self) -> int:
        """Requests that are let in and not answered."""
        return self._n_requests

    @property
    def waiting_tokens(self) -> float:
        """Padded tokens of those, also of what is being scored."""
        return self._waiting

    @property
    def replicas(self) -> int:
        """Replicas that answered within the last minute."""
        now = self._clock()
        return sum(now - at < _HEARD_S for at in self._heard.values())

    @property
    def tokens_per_s(self) -> float:
        """Padded tokens that all replicas score in a second; 0 before anything was measured."""
        return max(1, self.replicas) * self._batch_tokens / self._batch_s if self._batch_s else 0.0

    @contextmanager
    def let_in(self, n_pairs: int) -> Iterator[None]:
        """Hold a place for a request, from here to its answer.

        Args:
            n_pairs: Pairs that it may hold.

        Yields:
            Nothing.

        Raises:
            Refusal: 429; too much is before it.
        """
        rate = self.tokens_per_s
        if self._waiting > rate * self._max_wait_s:
            wait_s = max(1, math.ceil(self._waiting / rate)) if rate else 1
            said = f"what waits takes more than {self._max_wait_s:g} s; try again in {wait_s} s"
            raise Refusal(429, Kind.OVERLOADED, said, wait_s)
        tokens = n_pairs * self._pair_tokens / self._pairs
        self._waiting += tokens
        self._n_requests += 1
        try:
            yield
        finally:
            self._n_requests -= 1
            # The sum of what was added and taken away is not exactly 0 in floating point.
            self._waiting = self._waiting - tokens if self._n_requests else 0.0

    def learn(self, judged: Judged) -> None:
        """Take from an answer what it tells of pairs and replicas."""
        if judged.scored is not None:
            self._pairs = _KEPT * self._pairs + len(judged.scored.scores)
            self._pair_tokens = _KEPT * self._pair_tokens + judged.n_tokens
            self.learn_replicas(judged.scored)

    def learn_replicas(self, scored: Scored) -> None:
        """Take from an answer what it tells of replicas alone: its pairs are not a caller's."""
        now = self._clock()
        self._heard = {name: at for name, at in self._heard.items() if now - at < _HEARD_S}
        self._heard[scored.source.replica] = now
        for batch in scored.batches:
            self._learn_rate(batch)

    def _learn_rate(self, batch: Batch) -> None:
        if batch.n_tokens >= self._tells_from or not self._batch_s:
            self._batch_tokens = _KEPT * self._batch_tokens + batch.n_tokens
            self._batch_s = _KEPT * self._batch_s + batch.seconds
