"""Twice what the scorer can do, for some seconds, without an engine; `bench/online.py` does it with one."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from actors.bundle import Bundle
from pipeline.serving.asked import read_all
from pipeline.serving.errors import Refusal
from pipeline.serving.service import STARTING, Answer
from tests.serving.local import SleepingScorer, service_on

PAIRS = 10
SECONDS = 4.0


@pytest.mark.slow
def test_at_twice_the_capacity_each_request_is_answered_soon_or_refused_at_once(bundle: Bundle) -> None:
    pool = {"scorer": "tests.serving.local:SleepingScorer", "budget_tokens": 2048}
    service = service_on(bundle, pool=pool)
    service.not_ready = STARTING
    per_s = 2 * SleepingScorer.PAIRS_PER_S / PAIRS
    refusals: list[Refusal] = []

    async def ask(n: int) -> Answer | None:
        messages = [{"candidate_id": "c", "query": "q", "document": str(n + at)} for at in range(PAIRS)]
        try:
            return await service.answer(read_all(messages))
        except Refusal as refused:
            refusals.append(refused)
            return None

    async def overload() -> list[Answer | None]:
        assert await service._proved()
        service.not_ready = None
        began, asking = asyncio.get_running_loop().time(), []
        for n in range(int(per_s * SECONDS)):
            await asyncio.sleep(began + n / per_s - asyncio.get_running_loop().time())
            asking.append(asyncio.create_task(ask(n)))
        return await asyncio.gather(*asking)

    answers = [one for one in asyncio.run(overload()) if one is not None]
    assert {refused.status for refused in refusals} == {429}
    assert {refused.retry_after_s for refused in refusals} == {1}
    assert PAIRS * len(answers) > 0.7 * SleepingScorer.PAIRS_PER_S * SECONDS, "who is refused leaves no gap"
    waits = [one.wait_s for one in answers]
    assert np.percentile(waits, 99) < 1.0
    assert np.percentile(waits, 50) > 0.1, "something always waits"
