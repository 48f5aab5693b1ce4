"""The keeper dies at each named step of a commit; whether it was committed or not, it is not done twice."""

from __future__ import annotations

import random
import signal
from functools import partial

import pytest

from pipeline.kafka.fault_points import VARIABLE, Step
from tests.faults.attended import Attended
from tests.faults.stand import Stand
from tests.integration.gates import Gate

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("step", list(Step))
def test_a_keeper_that_dies_in_a_commit_leaves_all_of_it_or_nothing(stand: Stand, step: Step) -> None:
    with stand.scenario(f"keeper killed in a commit, {step.replace('_', ' ')}") as scenario:
        doomed = iter([f"{step}@{random.randint(5, 15)}" for _ in range(scenario.size.rounds)])

        def start() -> Gate:
            point = next(doomed, None)
            return scenario.gate(**({VARIABLE: point} if point else {}))

        with Attended(start) as gate:
            for number in range(1, scenario.size.rounds + 1):
                scenario.until_more(1)  # so that the start of the doomed one is not counted
                scenario.strike(partial(gate.until_ended, number), in_flight=0)  # nobody is left to commit it
            scenario.hurry()
            scenario.until_all()
            assert gate.exits == [-signal.SIGKILL] * scenario.size.rounds
