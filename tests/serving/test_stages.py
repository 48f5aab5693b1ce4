"""The stages without an engine between them."""

from __future__ import annotations

import asyncio
import threading

import numpy as np

from actors.bundle import Bundle
from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.records import Candidates, Reason
from pipeline.serving.stages import Preparing, Scoring
from pipeline.serving.values import Judged, Scored, Source, Unavailable
from tests.fakes import ArithmeticPreparer, ArithmeticScorer, PoisonScorer
from tests.serving.local import settings_for


def candidates(*texts: str) -> Candidates:
    n = len(texts)
    ids = [f"c-{at}" for at in range(n)]
    return Candidates([*range(n)], [0] * n, ids, [{}] * n, [{"text": text} for text in texts])


class Asked:
    """Scores nothing; keeps what it was asked for."""

    def __init__(self, answer: Unavailable | None = None) -> None:
        self.tokens: Tokens | None = None
        self._answer = answer

    async def __call__(self, tokens: Tokens) -> Scored | Unavailable:
        self.tokens = tokens
        nothing = np.zeros(len(tokens), np.float32)
        scores = Scores(nothing, nothing, np.zeros(len(tokens), np.int8))
        return self._answer or Scored(scores, {}, 0.0, (), Source("a", "b"))


class HangingScorer(ArithmeticScorer):
    """Scores nothing until a test lets it."""

    free = threading.Event()

    def score(self, tokens: Tokens) -> Scores:
        self.free.wait(60)
        return super().score(tokens)


def judge(score: Asked, *texts: str) -> Judged | Unavailable:
    preparing = Preparing(ArithmeticPreparer(max_chars=9), score=score)
    return asyncio.run(preparing.judge(candidates(*texts)))


def test_what_has_tokens_is_sent_on_and_the_rest_is_rejected_here() -> None:
    score = Asked()
    judged = judge(score, "1", "", "3", "9" * 10)
    assert isinstance(judged, Judged)
    assert score.tokens is not None
    assert score.tokens.ids.tolist() == [1, 3]
    assert judged.origins.record.tolist() == [0, 2]
    assert [(one.record, one.reason) for one in judged.rejected] == [
        (1, Reason.EMPTY_TEXT),
        (3, Reason.TEXT_TOO_LONG),
    ]
    assert judged.n_tokens == 32


def test_where_nothing_has_tokens_nobody_is_asked() -> None:
    score = Asked()
    judged = judge(score, "", "")
    assert isinstance(judged, Judged)
    assert (judged.scored, len(judged.rejected), score.tokens) == (None, 2, None)


def test_a_lost_replica_is_passed_on() -> None:
    assert judge(Asked(Unavailable("gone")), "1") == Unavailable("gone")


def test_a_replica_that_broke_says_so_to_whoever_watches_it(bundle: Bundle) -> None:
    async def work() -> None:
        scoring = Scoring(settings_for(bundle))
        pair, breaking = Tokens.from_rows([[150]], None), Tokens.from_rows([[PoisonScorer.BREAKS]], None)
        scored = await scoring.score(pair)
        assert isinstance(scored, Scored)
        assert scored.scores.logit.tolist() == [1.5]
        assert scored.source.replica
        assert scored.source.bundle == bundle.digest
        assert scoring.broken is None
        assert isinstance(await scoring.score(breaking), Unavailable)
        assert scoring.broken is not None
        assert "the device gave up" in scoring.broken
        assert isinstance(await scoring.score(pair), Unavailable)

    asyncio.run(work())


def test_a_replica_that_hangs_says_so_to_whoever_watches_it(bundle: Bundle) -> None:
    """It was healthy for ever, so that nobody replaced it, and each of its callers waited for the deadline."""
    limits: dict[str, dict[str, object]] = {"requests": {"deadline_s": 0.1}, "scaling": {"start_s": 0.2}}
    pool: dict[str, object] = {"scorer": "tests.serving.test_stages:HangingScorer"}

    async def work() -> None:
        scoring = Scoring(settings_for(bundle, pool=pool, **limits))
        scored = asyncio.create_task(scoring.score(Tokens.from_rows([[150]], None)))
        await asyncio.sleep(0.05)
        assert scoring.broken is None
        while scoring.broken is None:
            await asyncio.sleep(0.01)
        assert scoring.broken == "a batch has been scored for more than 0.2 s"
        HangingScorer.free.set()
        assert isinstance(await scored, Scored)
        assert scoring.broken is None

    try:
        asyncio.run(asyncio.wait_for(work(), 30))
    finally:
        HangingScorer.free.set()
