"""Brokers are bounced and stay away: the gate goes on unaided, and keeps its place."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient
from kafka.protocol.metadata import CoordinatorType

from tests.faults.stand import Scenario, Stand
from tests.integration.gates import Gate

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

AWAY_S = 60.0
BOUNCE_S = 60.0
"""Longer than a broker takes to stop, to start and to be in service again; meanwhile verdicts go on."""


def leader(scenario: Scenario) -> int:
    """The broker that leads the first partition of the input."""
    settings = scenario.settings
    with KafkaAdminClient(**settings.kafka) as admin:
        [topic] = admin.describe_topics([settings.topics.input])
    return int(next(one["leader_id"] for one in topic["partitions"] if one["partition_index"] == 0))


def transaction_coordinator(scenario: Scenario) -> int:
    """The broker that ends the gate's transactions."""
    with KafkaAdminClient(**scenario.settings.kafka) as admin:
        return coordinator(admin, scenario.settings.transactional_id, CoordinatorType.TRANSACTION)


def group_coordinator(scenario: Scenario) -> int:
    """The broker that holds the group and its offsets."""
    with KafkaAdminClient(**scenario.settings.kafka) as admin:
        return coordinator(admin, scenario.lab.group, CoordinatorType.GROUP)


def coordinator(admin: KafkaAdminClient, key: str, kind: CoordinatorType) -> int:
    return int(admin._manager.run(admin._find_coordinator_id, key, kind))


@pytest.mark.parametrize("whose", [leader, transaction_coordinator, group_coordinator])
@pytest.mark.parametrize("how", ["hard", "clean"])
def test_a_bounced_broker_is_borne(stand: Stand, whose: Callable[[Scenario], int], how: str) -> None:
    name = f"{whose.__name__.replace('_', ' ')} bounced, {how}"
    with stand.scenario(name, busy_s=BOUNCE_S) as scenario, scenario.gate() as gate:

        def bounce() -> None:
            if how == "hard":
                stand.brokers.kill(broker)
            stand.brokers.restart(broker)

        for _ in scenario.rounds():
            broker = whose(scenario)
            scenario.strike(bounce)
        scenario.until_all()
        assert gate.process.poll() is None


def test_a_partition_without_a_leader_holds_up_no_other(stand: Stand) -> None:
    name = "input partition without a leader"
    with (
        stand.scenario(name, busy_s=BOUNCE_S, replicas=1, min_insync_replicas="1") as scenario,
        scenario.gate() as gate,
    ):

        def leave_without() -> None:
            stand.brokers.kill(broker)
            scenario.until_more(2 * scenario.in_flight)  # of the other partitions, and of what is read since
            stand.brokers.restart(broker)

        for _ in scenario.rounds():
            broker = leader(scenario)
            scenario.strike(leave_without)
        scenario.until_all()
        assert gate.process.poll() is None


def test_brokers_that_are_away_for_a_minute_are_waited_for(stand: Stand) -> None:
    with stand.scenario("all brokers away for a minute") as scenario, scenario.gate() as gate:

        def away() -> None:
            for index in range(3):
                stand.brokers.kill(index)
            back_at = time.monotonic() + AWAY_S
            gate.until(lambda: not ready(gate), "reports not ready", AWAY_S)
            time.sleep(max(0.0, back_at - time.monotonic()))
            stand.brokers.restart(0, 1, 2)

        for _ in scenario.rounds():
            gate.until(lambda: ready(gate), "is ready")
            scenario.strike(away)
        scenario.until_all()
        gate.until(lambda: ready(gate), "is ready again")


def ready(gate: Gate) -> bool:
    try:
        with urllib.request.urlopen(gate.url + "/readyz", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False
