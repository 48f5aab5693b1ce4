"""What was stopped beyond every time-out, and replaced, wakes up: it writes nothing that a reader can see.

The one that took over is not fenced for good, and the zombie exits, or joins again, by itself.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from functools import partial

import psutil
import pytest

from tests.faults.attended import Attended
from tests.faults.stand import Stand, until
from tests.faults.test_processes import living
from tests.integration.gates import N_PARTITIONS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

BEYOND_S = 22.0
"""Longer than the session time-out of these gates, and than that of their transactions together with the time in
which a broker notices."""
HANG_S = 20.0
"""After so long without an answer a keeper replaces its runner, where it is told to be so quick."""
SETTLE_S = 8.0
"""How long the one that took over is watched after the zombie woke up."""


@pytest.mark.parametrize("what", ["keeper", "runner", "both"])
def test_a_zombie_is_replaced_and_writes_nothing_when_it_wakes(stand: Stand, what: str) -> None:
    name = {
        "keeper": "keeper stopped beyond the time-outs, another gate takes over",
        "runner": "runner stopped beyond the time-outs, another gate goes on",
        "both": "keeper and runner stopped beyond the time-outs, another gate takes over",
    }[what]
    with (
        stand.scenario(name, busy_s=150.0) as scenario,  # two gates work on them
        scenario.attended("gate.instance=a") as first,
        scenario.attended("gate.instance=b") as second,
    ):
        for number in scenario.rounds():
            zombie, other = (first, second) if number % 2 == 0 else (second, first)
            pids = frozen(zombie, what)
            scenario.strike(partial(stop_for_long, pids, other if what != "runner" else None))
            time.sleep(SETTLE_S)
            zombie.known("partitions")  # it has joined again, or ended and was started again
        scenario.until_all()


def test_a_runner_that_stays_stopped_is_replaced_by_its_keeper(stand: Stand) -> None:
    name = "runner stopped for good, its keeper starts another"
    with (
        stand.scenario(name, f"execution.hang_s={HANG_S:g}", busy_s=60.0) as scenario,
        scenario.attended() as gate,
    ):
        for _ in scenario.rounds():
            scenario.strike(lambda: stop_for_good(gate.runner))
        scenario.until_all()
        assert gate.exits == []


def test_a_replica_that_stays_stopped_costs_its_execution_although_the_others_go_on(stand: Stand) -> None:
    name = "replica stopped for good, its keeper starts another execution"
    with (
        stand.scenario(name, f"execution.hang_s={HANG_S / 2:g}", busy_s=90.0) as scenario,
        scenario.attended() as gate,
    ):
        for _ in scenario.rounds():
            scenario.strike(partial(stop_a_replica, gate))
        scenario.until_all()
        assert gate.exits == []


def test_a_zombie_whose_successor_goes_by_its_name_gives_way(stand: Stand) -> None:
    name = "gate stopped beyond the time-outs, its own successor runs"
    with stand.scenario(name, rounds=1, busy_s=150.0) as scenario, scenario.gate("gate.instance=a") as zombie:
        for _ in scenario.rounds():
            os.kill(zombie.process.pid, signal.SIGSTOP)
            with scenario.attended("gate.instance=a") as successor:
                scenario.strike(lambda: time.sleep(BEYOND_S))
                os.kill(zombie.process.pid, signal.SIGCONT)
                until(lambda: zombie.process.poll() is not None, "the zombie ends")
                assert zombie.process.returncode == 75
                scenario.hurry()
                scenario.until_all()
                assert len(successor.exits) <= 1, "it may be fenced once, not time after time"


def stop_for_good(runner: int) -> None:
    """Stop a runner until its keeper has killed it."""
    os.kill(runner, signal.SIGSTOP)
    until(lambda: not psutil.pid_exists(runner), "the keeper has killed its runner")


def stop_a_replica(gate: Attended) -> None:
    """Stop one of the replicas until its execution has been replaced for it."""
    execution = gate.known("execution")
    os.kill(random.choice(living(gate.replicas)), signal.SIGSTOP)
    until(lambda: gate.known("execution") != execution, "another execution has begun")


def stop_for_long(pids: Sequence[int], other: Attended | None) -> None:
    """Stop the processes beyond every time-out; where another gate takes over, until it has."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(BEYOND_S)
    if other is not None:
        until(lambda: len(other.known("partitions")) == N_PARTITIONS, "the other has all partitions")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def frozen(gate: Attended, what: str) -> list[int]:
    """The processes to stop, once the gate takes part."""
    gate.known("partitions")
    return {
        "keeper": lambda: [gate.keeper],
        "runner": lambda: [gate.runner],
        "both": lambda: [gate.keeper, gate.runner],
    }[what]()
