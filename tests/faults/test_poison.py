"""Rows that kill their replica each time are rejected as `scoring_failed`; the rest goes on."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.paced import POISONS
from tests.faults.stand import Stand

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("poison", list(POISONS))
def test_a_row_that_kills_its_replica_is_rejected_and_the_rest_goes_on(stand: Stand, poison: str) -> None:
    name = f"poison row, {poison} in its replica"
    small = ("claims.max_offsets=8", "claims.min_offsets=4")  # each halving costs an execution
    with stand.scenario(name, *small, seeds=False) as scenario:
        n = scenario.size.messages // 10
        bad = set(random.sample(range(n), scenario.size.rounds))
        documents = (poison if i in bad else f"boot no. {i}" for i in range(n))
        scenario.lab.send(scenario.lab.candidate(i, document=one) for i, one in enumerate(documents))
        with scenario.gate() as gate:
            scenario.until_more(1)
            began = time.time()
            scenario.until_all(n)
            scenario.recoveries.append(scenario.watch.longest_silence(began, time.time()))
            assert gate.process.poll() is None
    assert (scenario.report.candidates, scenario.report.rejected) == (n, len(bad))
