"""Batches across callers, with a scorer that keeps what it was given."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.bearing import Borne
from pipeline.records import Effort
from pipeline.serving.errors import ScorerBroken
from pipeline.serving.gather import Gatherer, cost
from pipeline.serving.values import Source

PAD = 16  # what a pair of up to 16 tokens costs
SOURCE = Source("here:1", "sha256:0")
RAISES = 666
FAILS = 13


class Recording:
    """Scores a pair with its first token, and keeps each batch; a test may hold it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def score(self, tokens: Tokens) -> Borne:
        first = tokens.ids[tokens.offsets[:-1]]
        self.batches.append(first.tolist())
        self.free.wait(60)
        if RAISES in first:
            raise RuntimeError("the device gave up")
        logit = first.astype(np.float32)
        if tokens.prior is not None:
            logit += tokens.prior
        failures = {int(at): "unbearable" for at in np.flatnonzero(first == FAILS)}
        effort = Effort(pairs=len(first), tokens=len(tokens.ids))
        return Borne(Scores(logit, -logit, np.zeros(len(first), np.int8)), failures, effort)


def pairs(*firsts: int, length: int = 3, prior: bool = False) -> Tokens:
    tokens = Tokens.from_rows([[first] * length for first in firsts], None)
    return (
        tokens
        if not prior
        else Tokens(tokens.ids, tokens.offsets, None, np.full(len(firsts), 0.5, np.float32))
    )


def gathering(
    work: Callable[[Gatherer, Recording], Awaitable[None]],
    *,
    budget_tokens: int = 4 * PAD,
    linger_s: float = 0.05,
) -> Recording:
    """Run a test's work beside a gatherer."""
    scorer = Recording()

    async def both() -> None:
        gatherer = Gatherer(scorer.score, budget_tokens=budget_tokens, linger_s=linger_s, source=SOURCE)
        running = asyncio.create_task(gatherer.run())
        try:
            await asyncio.wait_for(work(gatherer, scorer), 60)
        finally:
            scorer.free.set()
            running.cancel()

    asyncio.run(both())
    return scorer


async def until(reached: Callable[[], object]) -> None:
    while not reached():
        await asyncio.sleep(0.001)


def test_callers_who_come_together_are_scored_together_and_each_gets_its_own() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        one, two = await asyncio.gather(gatherer.score(pairs(1, 2)), gatherer.score(pairs(3)))
        assert one.scores.logit.tolist() == [1, 2]
        assert two.scores.logit.tolist() == [3]
        assert [len(one.batches), len(two.batches)] == [1, 0], "a batch is told once"
        assert one.batches[0][:2] == (3, 3 * PAD)
        assert one.score_s == two.score_s > 0
        assert one.source == two.source == SOURCE

    assert gathering(work).batches == [[1, 2, 3]]


def test_a_full_batch_does_not_linger() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        await asyncio.gather(*(gatherer.score(pairs(n)) for n in range(4)))

    assert gathering(work, linger_s=3600).batches == [[0, 1, 2, 3]]


def test_who_is_alone_waits_no_longer_than_the_linger() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        began = time.monotonic()
        await gatherer.score(pairs(1))
        assert time.monotonic() - began >= 0.05

    gathering(work)


def test_what_comes_while_the_scorer_works_is_the_next_batch_first_come_first_served() -> None:
    async def work(gatherer: Gatherer, scorer: Recording) -> None:
        scorer.free.clear()
        first = asyncio.create_task(gatherer.score(pairs(1, 2, 3, 4)))
        await until(lambda: scorer.batches)
        others = [asyncio.create_task(gatherer.score(pairs(n, n))) for n in (5, 6, 7)]
        await asyncio.sleep(0.02)
        scorer.free.set()
        await asyncio.gather(first, *others)

    assert gathering(work).batches == [[1, 2, 3, 4], [5, 5, 6, 6], [7, 7]]


def test_a_large_request_goes_in_several_batches_and_lets_the_next_join_its_last() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        large, small = await asyncio.gather(
            gatherer.score(pairs(1, 2, FAILS, 4, 5, FAILS)), gatherer.score(pairs(FAILS, 8))
        )
        assert large.scores.logit.tolist() == [1, 2, FAILS, 4, 5, FAILS]
        assert large.failures == {2: "unbearable", 5: "unbearable"}
        assert small.failures == {0: "unbearable"}
        assert [batch.n_pairs for batch in large.batches] == [4, 4]
        assert large.score_s >= small.score_s

    assert gathering(work).batches == [[1, 2, FAILS, 4], [5, FAILS, FAILS, 8]]


def test_a_pair_costs_its_tokens_with_their_padding() -> None:
    assert cost(pairs(1, length=17)).tolist() == [32]
    assert cost(pairs(1, length=60)).tolist() == [64]

    async def work(gatherer: Gatherer, _: Recording) -> None:
        await asyncio.gather(*(gatherer.score(pairs(n, length=17)) for n in range(3)))

    assert gathering(work).batches == [[0, 1], [2]]


def test_a_pair_beyond_the_budget_is_scored_alone() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        await asyncio.gather(*(gatherer.score(pairs(n, length=17)) for n in range(2)))

    assert gathering(work, budget_tokens=PAD).batches == [[0], [1]]


def test_what_stands_beside_the_tokens_goes_with_them() -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        one, two = await asyncio.gather(
            gatherer.score(pairs(1, prior=True)), gatherer.score(pairs(2, prior=True))
        )
        assert [*one.scores.logit, *two.scores.logit] == [1.5, 2.5]

    assert gathering(work).batches == [[1, 2]]


def test_a_caller_who_has_gone_takes_no_place() -> None:
    async def work(gatherer: Gatherer, scorer: Recording) -> None:
        scorer.free.clear()
        first = asyncio.create_task(gatherer.score(pairs(1, 2, 3, 4)))
        await until(lambda: scorer.batches)
        gone, stays = (asyncio.create_task(gatherer.score(pairs(n))) for n in (5, 6))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0)
        scorer.free.set()
        await asyncio.gather(first, stays)

    assert gathering(work).batches == [[1, 2, 3, 4], [6]]


def test_a_caller_who_goes_in_the_middle_of_its_batches_harms_nobody() -> None:
    async def work(gatherer: Gatherer, scorer: Recording) -> None:
        scorer.free.clear()
        large = asyncio.create_task(gatherer.score(pairs(*range(1, 9))))
        await until(lambda: scorer.batches)
        other = asyncio.create_task(gatherer.score(pairs(9)))
        await asyncio.sleep(0.02)
        large.cancel()
        scorer.free.set()
        assert (await other).scores.logit.tolist() == [9]

    assert gathering(work).batches == [[1, 2, 3, 4], [9]]


def test_a_scorer_that_raises_is_asked_no_more_and_nobody_waits_for_it() -> None:
    async def work(gatherer: Gatherer, scorer: Recording) -> None:
        scorer.free.clear()
        first = asyncio.create_task(gatherer.score(pairs(RAISES, 2, 3, 4)))
        await until(lambda: scorer.batches)
        waits = asyncio.create_task(gatherer.score(pairs(5)))
        await asyncio.sleep(0.02)
        scorer.free.set()
        for one in (first, waits, gatherer.score(pairs(6))):
            with pytest.raises(ScorerBroken, match="the device gave up"):
                await one
        assert gatherer.broken is not None

    assert len(gathering(work).batches) == 1


@pytest.mark.parametrize("n", [1, 3])
def test_a_scorer_that_gives_another_number_of_scores_answers_nobody(n: int) -> None:
    """The first callers got theirs and the last a 500; of too many, each got whatever stood in its place."""

    def score(tokens: Tokens) -> Borne:
        nothing = np.zeros(n, np.float32)
        return Borne(Scores(nothing, nothing, np.zeros(n, np.int8)), {})

    async def work() -> None:
        gatherer = Gatherer(score, budget_tokens=4 * PAD, linger_s=0.05, source=SOURCE)
        running = asyncio.create_task(gatherer.run())
        answers = await asyncio.gather(
            gatherer.score(pairs(1)), gatherer.score(pairs(2)), return_exceptions=True
        )
        assert [str(one) for one in answers] == [
            f"the scorer is broken: ValueError: {n} scores for 2 pairs"
        ] * 2
        running.cancel()

    asyncio.run(work())


@given(
    st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=9), min_size=1, max_size=8), st.integers(1, 9)
)
def test_whatever_comes_each_gets_its_own_in_order_and_no_batch_is_too_large(
    requests: list[list[int]], n_fit: int
) -> None:
    async def work(gatherer: Gatherer, _: Recording) -> None:
        answers = await asyncio.gather(*(gatherer.score(pairs(*firsts)) for firsts in requests))
        assert [answer.scores.logit.tolist() for answer in answers] == requests
        told = [batch for answer in answers for batch in answer.batches]
        assert sum(batch.n_pairs for batch in told) == sum(map(len, requests))

    scorer = gathering(work, budget_tokens=n_fit * PAD, linger_s=0)
    assert all(len(batch) <= n_fit for batch in scorer.batches)
    assert [first for batch in scorer.batches for first in batch] == [
        n for firsts in requests for n in firsts
    ]
