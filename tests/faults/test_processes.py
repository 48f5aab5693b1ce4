"""What the gate is made of is killed, at random moments: nothing missing, nothing repeated, in order.

The first scenario runs with all other tests too: it is the suite in short.
"""

from __future__ import annotations

import os
import random
import signal

import psutil
import pytest

from tests.faults.attended import Attended
from tests.faults.nodes import Nodes, name_of
from tests.faults.stand import Stand, until

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_a_killed_keeper_is_started_again(stand: Stand) -> None:
    with stand.scenario("keeper killed") as scenario, scenario.attended() as gate:
        for _ in scenario.rounds():
            scenario.strike(lambda: kill(gate.keeper))
        scenario.until_all()
        assert gate.exits == [-signal.SIGKILL] * scenario.size.rounds


@pytest.mark.faults
def test_a_killed_runner_is_replaced_by_its_keeper(stand: Stand) -> None:
    with stand.scenario("runner killed") as scenario, scenario.attended() as gate:
        for _ in scenario.rounds():
            scenario.strike(lambda: kill(gate.runner))
        scenario.until_all()
        assert gate.exits == []


@pytest.mark.faults
def test_a_killed_replica_is_replaced_within_its_execution(stand: Stand) -> None:
    with stand.scenario("replica killed") as scenario, scenario.attended() as gate:
        for _ in scenario.rounds():
            execution = gate.known("execution")
            scenario.strike(lambda: kill(random.choice(living(gate.replicas))))
            assert gate.known("execution") == execution
        scenario.until_all()
        assert gate.exits == []


@pytest.mark.faults
def test_a_killed_prepare_actor_is_replaced(stand: Stand) -> None:
    with stand.scenario("Prepare actor killed") as scenario, scenario.attended() as gate:
        for _ in scenario.rounds():
            scenario.strike(lambda: kill(prepare_actor(gate)))
        scenario.until_all()
        assert gate.exits == []


@pytest.mark.faults
def test_a_killed_worker_node_is_done_without_and_another_is_used(stand: Stand, nodes: Nodes) -> None:
    with (
        stand.scenario("Ray worker node killed", busy_s=60.0) as scenario,  # until another has started
        scenario.attended() as gate,
    ):
        for _ in scenario.rounds():
            scenario.strike(nodes.replace_worker)
        scenario.until_all()
        assert gate.exits == []


@pytest.mark.faults
def test_a_ray_cluster_that_is_killed_and_started_again_is_used_again(stand: Stand, nodes: Nodes) -> None:
    with stand.scenario("Ray head killed, restarted from outside") as scenario, scenario.attended():
        for _ in scenario.rounds():
            scenario.strike(nodes.restart)
        scenario.until_all()


@pytest.mark.faults
def test_a_ray_cluster_that_is_away_is_waited_for(stand: Stand, nodes: Nodes) -> None:
    """Three executions that found no cluster ended the gate, with 70."""
    with stand.scenario("Ray cluster away for two minutes", rounds=1) as scenario, scenario.gate() as gate:
        for _ in scenario.rounds():
            scenario.strike(lambda: nodes.restart(after_s=120))
        scenario.until_all()
        assert "no Ray cluster answers" in gate.log
        assert gate.process.poll() is None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def living(pids: list[int]) -> list[int]:
    """Those of the actors that live."""
    return sorted(actors() & {*pids})


def prepare_actor(gate: Attended) -> int:
    """The actor that works for the gate and has scored nothing."""

    def found() -> list[int]:
        return sorted(actors() - {*gate.replicas})

    until(lambda: len(found()) == 1, "there is one Prepare actor, and every replica has given something back")
    return found()[0]


def actors() -> set[int]:
    """The actors on the nodes of this stand; never another's."""
    below = psutil.Process().children(recursive=True)
    return {one.pid for one in below if name_of(one).startswith("ray::Map")}
