"""Gathers what callers send into batches, by token budget, first come first served.

Promises: no batch holds more padded tokens than the budget, unless one pair does; a batch waits for company no
longer than the linger, not at all while the scorer is busy; a caller who has gone takes no place; a scorer that
raises answers nobody any more, and says so at once to all who wait and all who come. Plain asyncio: knows neither
HTTP nor the engine. That company changes no score is the scorer's promise.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actors.batching import padded_widths
from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.bearing import Borne, joined
from pipeline.serving.errors import ScorerBroken
from pipeline.serving.values import Batch, Scored, Source

Bears = Callable[[Tokens], Borne]
"""Scores what can be scored: `bearing.Bearing.score`."""


@dataclass(slots=True)
class _Waiting:
    """One caller's pairs, and how far they have come."""

    tokens: Tokens
    ends: NDArray[np.int64]
    """Cost of the pairs up to and with each, int64 `[n]`."""
    since: float
    answer: asyncio.Future[Scored]
    taken: int = 0
    """How many pairs went into batches."""
    parts: list[Scores] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    score_s: float = 0.0

    @property
    def left(self) -> int:
        """Cost of the pairs that are not taken."""
        return int(self.ends[-1] - (self.ends[self.taken - 1] if self.taken else 0))

    def fitting(self, room: int) -> int:
        """How many of the pairs that are not taken fit."""
        before = int(self.ends[self.taken - 1]) if self.taken else 0
        return int(np.searchsorted(self.ends, before + room, side="right")) - self.taken


class _Share(NamedTuple):
    """The pairs of one caller in a batch."""

    waiting: _Waiting
    start: int
    stop: int


def cost(tokens: Tokens) -> NDArray[np.int64]:
    """What each pair costs: its tokens with their padding, int64 `[n]`."""
    return padded_widths(tokens.lengths)


class Gatherer:
    """Scores what several callers send, together. `run` does the work, in a task of its own.

    Args:
        score: Scores one batch; called in a thread, one call at a time.
        budget_tokens: Ceiling on the padded tokens of a batch.
        linger_s: How long an idle scorer waits for company, in seconds.
        source: Who scores, for the answers to say.
    """

    def __init__(self, score: Bears, *, budget_tokens: int, linger_s: float, source: Source) -> None:
        self._score = score
        self._budget_tokens = budget_tokens
        self._linger_s = linger_s
        self._source = source
        self._thread = ThreadPoolExecutor(1, "scorer")
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._broken: ScorerBroken | None = None
        self._scoring_since: float | None = None

    @property
    def broken(self) -> ScorerBroken | None:
        """Why nothing is scored any more; None while it is."""
        return self._broken

    @property
    def batch_s(self) -> float:
        """For how long the batch that is being scored has been, in seconds; 0 while there is none."""
        return 0.0 if self._scoring_since is None else time.monotonic() - self._scoring_since

    async def score(self, tokens: Tokens) -> Scored:
        """Score one caller's pairs, in whatever company.

        Args:
            tokens: Pairs, at least one.

        Returns:
            A score for each.

        Raises:
            ScorerBroken: The scorer raised, now or before.
        """
        if self._broken is not None:
            raise self._broken
        ends = np.cumsum(cost(tokens))
        answer: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(tokens, ends, time.monotonic(), answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Score batch after batch, until the scorer breaks or the task is cancelled."""
        while self._broken is None:
            await self._enough()
            if shares := self._take():
                await self._go(shares)

    async def _enough(self) -> None:
        """Wait for a caller, and then for as much as fills a batch, or until the first has waited enough."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        until = self._waiting[0].since + self._linger_s
        while sum(one.left for one in self._waiting) < self._budget_tokens:
            rest = until - time.monotonic()
            if rest <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), rest)
            except TimeoutError:
                return

    def _take(self) -> list[_Share]:
        """The next batch: the first pairs that fit, the rest of a caller's stays at the head."""
        shares: list[_Share] = []
        room = self._budget_tokens
        while self._waiting:
            first = self._waiting[0]
            if first.answer.done():  # its caller has gone
                self._waiting.popleft()
                continue
            n = first.fitting(room)
            if n == 0:
                if shares:
                    break
                n = 1  # alone beyond the budget: the scorer says what it thinks of that
            before, start = first.left, first.taken
            first.taken += n
            room -= before - first.left
            shares.append(_Share(first, start, first.taken))
            if first.taken < len(first.tokens):
                break
            self._waiting.popleft()
        return shares

    async def _go(self, shares: Sequence[_Share]) -> None:
        self._scoring_since = began = time.monotonic()
        try:
            tokens = Tokens.joined([share.waiting.tokens.slice(share.start, share.stop) for share in shares])
            borne = await asyncio.get_running_loop().run_in_executor(self._thread, self._score_all, tokens)
        except Exception as error:  # noqa: BLE001 - whatever it is, this scorer is not asked again
            self._give_up(ScorerBroken(f"{type(error).__name__}: {error}"), shares)
            return
        finally:
            self._scoring_since = None
        seconds = time.monotonic() - began
        n_tokens = int(cost(tokens).sum())
        shares[0].waiting.batches.append(Batch(len(tokens), n_tokens, seconds, borne.effort))
        at = 0
        for share in shares:
            n = share.stop - share.start
            failures = borne.failures.items()
            own = {share.start + place - at: why for place, why in failures if at <= place < at + n}
            self._give(share, _part(borne.scores, at, at + n), own, seconds)
            at += n

    def _score_all(self, tokens: Tokens) -> Borne:
        """In the thread. Scores of another number cannot be told apart: whose they are, nobody knows."""
        borne = self._score(tokens)
        if len(borne.scores) != len(tokens):
            raise ValueError(f"{len(borne.scores)} scores for {len(tokens)} pairs")
        return borne

    def _give(self, share: _Share, scores: Scores, failures: dict[int, str], seconds: float) -> None:
        waiting = share.waiting
        waiting.parts.append(scores)
        waiting.failures |= failures
        waiting.score_s += seconds
        if share.stop == len(waiting.tokens) and not waiting.answer.done():
            scored = Scored(
                joined(waiting.parts),
                waiting.failures,
                waiting.score_s,
                tuple(waiting.batches),
                self._source,
            )
            waiting.answer.set_result(scored)

    def _give_up(self, broken: ScorerBroken, shares: Sequence[_Share]) -> None:
        self._broken = broken
        for waiting in [*(share.waiting for share in shares), *self._waiting]:
            if not waiting.answer.done():
                waiting.answer.set_exception(broken)
        self._waiting.clear()


def _part(scores: Scores, start: int, stop: int) -> Scores:
    return Scores(scores.logit[start:stop], scores.relevance[start:stop], scores.action[start:stop])
