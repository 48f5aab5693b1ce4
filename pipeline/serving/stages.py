"""The two stages behind the door, as values in and values out: prepare a request's candidates, score its pairs.

Promises an answer for each candidate, or `Unavailable` as a whole; neither raises for data. Tokens are made
here, in the process that prepares, never in the one that scores. The engine is given these classes; they do not
know it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from actors.scorer import Prepares
from actors.tokens import Tokens
from pipeline.bearing import Bearing
from pipeline.codec import Origins
from pipeline.prepare import compose, open_preparer
from pipeline.records import Candidates, Rejected
from pipeline.score import open_scorer
from pipeline.serving.errors import ScorerBroken
from pipeline.serving.gather import Gatherer, cost
from pipeline.serving.settings import ServeSettings
from pipeline.serving.values import Judged, Scored, Source, Unavailable

SendOn = Callable[[Tokens], Awaitable[Scored | Unavailable]]
"""Hands pairs to whoever scores them."""


class Preparing:
    """Composes and tokenizes, one request after the other, in a thread of its own.

    Args:
        preparer: Composes and tokenizes.
        score: Whoever scores.
    """

    def __init__(self, preparer: Prepares, *, score: SendOn) -> None:
        self._preparer = preparer
        self._score = score
        self._thread = ThreadPoolExecutor(1, "preparer")

    @classmethod
    def open(cls, settings: ServeSettings, *, score: SendOn) -> Preparing:
        """As the settings describe it. Raises BundleRefused where the bundle must not be used."""
        return cls(open_preparer(settings.of_a_gate), score=score)

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        """Prepare candidates, and have them scored.

        Args:
            candidates: `record` is the place in the request; ascending.

        Returns:
            What became of each.
        """
        rejected: list[Rejected] = []
        origins, tokens, prepare_s = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._prepare, candidates, rejected
        )
        if not len(tokens):
            return Judged(origins, None, rejected, prepare_s=prepare_s)
        n_tokens = int(cost(tokens).sum())
        scored = await self._score(tokens)
        if isinstance(scored, Unavailable):
            return scored
        return Judged(origins, scored, rejected, n_tokens, prepare_s)

    def _prepare(self, candidates: Candidates, rejected: list[Rejected]) -> tuple[Origins, Tokens, float]:
        began = time.monotonic()
        origins, columns = compose(self._preparer, candidates, rejected)
        return origins, Tokens.from_arrow(columns), time.monotonic() - began


class Scoring:
    """A replica: one scorer, and a gatherer before it. Made inside the loop that it serves.

    Args:
        settings: Of the door.

    Raises:
        BundleRefused: The bundle, or the device, must not be used.
    """

    def __init__(self, settings: ServeSettings) -> None:
        scorer = open_scorer(settings.of_a_gate)
        self._gatherer = Gatherer(
            Bearing(scorer).score,
            budget_tokens=settings.pool.budget_tokens,
            linger_s=settings.queue.linger_s,
            source=Source(f"{socket.gethostname()}:{os.getpid()}", scorer.bundle.digest),
        )
        self._running: asyncio.Task[None] | None = None
        # Nobody waits for a batch of that age: neither a caller, nor whoever asks if the pool is warm.
        self._hang_s = max(settings.requests.deadline_s, settings.scaling.start_s)

    @property
    def broken(self) -> str | None:
        """Why it scores nothing any more; None while it does."""
        if self._gatherer.broken is not None:
            return str(self._gatherer.broken)
        if self._gatherer.batch_s > self._hang_s:
            return f"a batch has been scored for more than {self._hang_s:g} s"
        return "nothing is gathered any more" if self._running is not None and self._running.done() else None

    async def score(self, tokens: Tokens) -> Scored | Unavailable:
        """Score the pairs of one request, at least one, in whatever company."""
        if self._running is None:
            self._running = asyncio.create_task(self._gatherer.run())
        try:
            return await self._gatherer.score(tokens)
        except ScorerBroken as broken:
            return Unavailable(str(broken))
