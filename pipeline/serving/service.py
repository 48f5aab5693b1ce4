"""One request, from its candidates to what became of each: admission, a deadline, a second try, metrics.

Promises an answer or a `Refusal` within the deadline, whatever the replicas do: a request whose replica was
lost is tried once more, and then refused; no pair waits for a caller who has gone. Knows neither HTTP nor the
engine; it is given whoever judges candidates.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from actors.bundle import Bundle
from actors.pairs import Part
from pipeline.codec import not_finite
from pipeline.codec.verdict import ACTIONS
from pipeline.records import Candidates
from pipeline.score import explained
from pipeline.serving.admission import Admission
from pipeline.serving.answers import Outcome, Pair
from pipeline.serving.asked import Asked
from pipeline.serving.errors import Kind, Refusal
from pipeline.serving.metrics import ServeMetrics
from pipeline.serving.settings import ServeSettings
from pipeline.serving.values import Judged, Unavailable

logger = logging.getLogger(__name__)

STARTING = "starting"
DRAINING = "draining"
_TICK_S = 0.2
_SILENCE_S = 10.0
"""Without any answer for so long, a request that is given up is no sign of its own size: no verdicts come."""


class Judges(Protocol):
    """Whoever has the replicas."""

    async def judge(self, candidates: Candidates) -> Judged | Unavailable:
        """Prepare and score the candidates of one request; raises nothing for a replica that is lost."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the candidates of one request, in its order, and how long it took."""

    outcomes: Sequence[Outcome]
    prepare_s: float
    wait_s: float
    score_s: float


class Service:
    """The door behind its HTTP.

    Args:
        judges: Whoever has the replicas.
        bundle: What they score with.
        settings: Of the door.
    """

    def __init__(self, judges: Judges, bundle: Bundle, settings: ServeSettings) -> None:
        self.bundle = bundle
        self.settings = settings
        self.metrics = ServeMetrics()
        self.not_ready: str | None = STARTING
        """Why no verdicts come now; None when they do."""
        self._judges = judges
        self._silent_since: float | None = None
        """When the first was asked after the latest answer; None while there is no such."""
        self._admission = Admission(
            max_wait_s=settings.queue.max_wait_s,
            max_tokens=bundle.manifest.max_tokens,
            budget_tokens=settings.pool.budget_tokens,
        )
        admission = self._admission
        for name, description, value in (
            ("ready", "1 while verdicts come.", lambda: float(self.not_ready is None)),
            ("waiting_tokens", "Padded tokens let in and not answered.", lambda: admission.waiting_tokens),
            ("waiting_requests", "Requests let in and not answered.", lambda: float(admission.n_requests)),
            ("tokens_per_second", "Padded tokens that all replicas score.", lambda: admission.tokens_per_s),
            ("replicas", "Replicas that answered within the last minute.", lambda: float(admission.replicas)),
        ):
            self.metrics.show(name, description, value)

    async def answer(self, asked: Asked) -> Answer:
        """Judge the candidates of one request.

        Args:
            asked: At most `requests.max_candidates`; none will do.

        Returns:
            What became of each.

        Raises:
            Refusal: 429 too much waits, 503 no replica or draining, 504 not within the deadline.
        """
        if self.not_ready is not None:
            raise Refusal(503, Kind.UNHEALTHY, f"no verdicts now: {self.not_ready}; try again", 1)
        began = time.monotonic()
        judged: Judged | None = None
        if len(asked.candidates):
            with self._admission.let_in(len(asked.candidates)):
                judged = await self._judged(asked.candidates)
        return self._told(asked, judged, time.monotonic() - began)

    async def keep_ready(self) -> None:
        """Ask the replicas for a verdict until one comes, whenever none do. Runs until it is cancelled."""
        while True:
            if self.not_ready not in {None, DRAINING} and await self._proved() and self.not_ready != DRAINING:
                logger.info("ready: a replica answers")
                self.not_ready = self._silent_since = None
            await asyncio.sleep(_TICK_S)

    async def drained(self) -> None:
        """Accept nothing more, and wait for what was accepted, for `http.shutdown_grace_s` at most."""
        self.not_ready = DRAINING
        until = time.monotonic() + self.settings.http.shutdown_grace_s
        while self._admission.n_requests and time.monotonic() < until:
            await asyncio.sleep(_TICK_S / 10)

    async def _judged(self, candidates: Candidates) -> Judged:
        deadline_s = self.settings.requests.deadline_s
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        try:
            async with asyncio.timeout(deadline_s):
                judged = await self._ask(candidates)
                if isinstance(judged, Unavailable):
                    logger.warning("a request is tried again: %s", judged.because)
                    self.metrics.retried()
                    judged = await self._ask(candidates)
        except TimeoutError as error:
            # Another's answer may have come meanwhile.
            if self._silent_since is not None and time.monotonic() - self._silent_since >= _SILENCE_S:
                self._lost("nothing was answered in time")
            said = f"no answer within {deadline_s:g} s; try again, or send fewer candidates at a time"
            raise Refusal(504, Kind.TIMEOUT, said, 1) from error
        if isinstance(judged, Unavailable):
            self._lost(judged.because)
            raise Refusal(503, Kind.UNHEALTHY, "the replica that scored it was lost, twice; try again", 1)
        self._silent_since = None
        self._admission.learn(judged)
        return judged

    def _lost(self, because: str) -> None:
        """Let nobody else wait for replicas that do not answer."""
        if self.not_ready is None:
            logger.error("not ready until a replica answers again: %s", because)
            self.not_ready = "no replica answers"

    async def _ask(self, candidates: Candidates) -> Judged | Unavailable:
        """Have candidates judged, by this door's bundle and no other."""
        judged = await self._judges.judge(candidates)
        if isinstance(judged, Judged) and judged.scored is not None:
            found = judged.scored.source.bundle
            if found != self.bundle.digest:
                return Unavailable(f"the replicas score with {found}, of another door of this name")
        return judged

    def _told(self, asked: Asked, judged: Judged | None, total_s: float) -> Answer:
        rejected = list(asked.rejected)
        outcomes: dict[int, Outcome] = {}
        prepare_s = wait_s = score_s = 0.0
        if judged is not None:
            prepare_s = judged.prepare_s
            rejected += judged.rejected
        if judged is not None and judged.scored is not None:
            scored, origins = judged.scored, judged.origins
            scores = scored.scores
            rejected += explained(not_finite(origins, scores), origins, scored.failures)
            columns = zip(
                scores.logit.tolist(), scores.relevance.tolist(), scores.action.tolist(), strict=True
            )
            for at, (logit, relevance, action) in zip(origins.record.tolist(), columns, strict=True):
                outcomes[at] = Pair(logit, relevance, ACTIONS[action])
            score_s = scored.score_s
            wait_s = max(0.0, total_s - prepare_s - score_s)
            self.metrics.scored(scored, wait_s)
        outcomes |= {one.record: one for one in rejected}
        in_order = [outcomes[at] for at in range(asked.n)]
        self.metrics.judged(
            actions=Counter(one.action.value for one in in_order if isinstance(one, Pair)),
            reasons=Counter(one.reason.value for one in rejected),
        )
        return Answer(in_order, prepare_s, wait_s, score_s)

    async def _proved(self) -> bool:
        """Have pairs scored that fill a batch, so that the rate is known before it is needed."""
        template = self.bundle.manifest.template
        n = max(1, self.settings.pool.budget_tokens // 16)  # a short pair is padded to 16 tokens
        drawn = [str(one) for one in random.sample(range(1_000_000), n)]  # new ones: nothing was kept of them

        def side(parts: Sequence[Part]) -> list[dict[str, str]]:
            return [{parts[0].field: text} for text in drawn]

        candidates = Candidates(
            [*range(n)], [0] * n, drawn, [*side(template.query)], [*side(template.document)]
        )
        try:
            async with asyncio.timeout(self.settings.scaling.start_s):
                judged = await self._ask(candidates)
        except TimeoutError:
            return False
        if isinstance(judged, Unavailable) or judged.scored is None:
            return False
        self._admission.learn_replicas(judged.scored)
        return bool(np.isfinite(judged.scored.scores.logit).any())
