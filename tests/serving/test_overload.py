"""Twice what the scorer can do, for some seconds, without an engine; `bench/online.py` does it with one."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from actors.bundle import Bundle
from pipeline.serving.asked import read_all
from pipeline.serving.errors import Refusal
from pipeline.serving.service import STARTING
from tests.serving.local import SleepingScorer, service_on

PAIRS = 10
SECONDS = 4.0


@pytest.mark.slow
def test_at_twice_the_capacity_each_request_is_answered_soon_or_refused_at_once(bundle: Bundle) -> None:
    """How soon is told by what was scored meanwhile: a stall of the machine is no wait behind others."""
    pool = {"scorer": "tests.serving.local:SleepingScorer", "budget_tokens": 512}
    service = service_on(bundle, pool=pool)
    service.not_ready = STARTING
    per_s = 2 * SleepingScorer.PAIRS_PER_S / PAIRS
    refusals: list[Refusal] = []
    before: list[int] = []
    busy_share = 0.0

    async def ask(n: int) -> None:
        messages = [{"candidate_id": "c", "query": "q", "document": str(n + at)} for at in range(PAIRS)]
        n_scored = SleepingScorer.n_scored
        try:
            await service.answer(read_all(messages))
        except Refusal as refused:
            refusals.append(refused)
        else:
            before.append(SleepingScorer.n_scored - n_scored - PAIRS)

    async def overload() -> None:
        nonlocal busy_share
        assert await service._proved()
        service.not_ready = None
        busy_s, began, asking = SleepingScorer.busy_s, asyncio.get_running_loop().time(), []
        for n in range(int(per_s * SECONDS)):
            await asyncio.sleep(began + n / per_s - asyncio.get_running_loop().time())
            asking.append(asyncio.create_task(ask(n)))
        await asyncio.gather(*asking)
        busy_share = (SleepingScorer.busy_s - busy_s) / (asyncio.get_running_loop().time() - began)

    asyncio.run(overload())
    assert {refused.status for refused in refusals} == {429}
    assert np.median([refused.retry_after_s for refused in refusals]) == 1
    assert busy_share > 0.7, "who is refused leaves no gap"
    assert np.percentile(before, 99) < 1.0 * SleepingScorer.PAIRS_PER_S
    assert np.percentile(before, 50) > 0, "something always waits"
