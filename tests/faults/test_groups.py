"""The group and its topic change under load: members come and go, partitions are added."""

from __future__ import annotations

import time
from functools import partial

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewPartitions

from pipeline.kafka.member import Member
from tests.faults.background import Background
from tests.faults.stand import Scenario, Stand, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

STORM_S = 30.0
"""Of each round."""
VISIT_S = 3.0
"""How long a visitor stays: long enough to be given partitions, and to take them away."""
N_ADDED = 2
SMALL = ("pool.min_replicas=1", "pool.max_replicas=1")
"""The pool of a gate that is a guest: there must be room for it beside the other's."""


def test_members_that_come_and_go_stop_nothing(stand: Stand) -> None:
    with (
        stand.scenario("rebalance storm", busy_s=90.0) as scenario,
        scenario.gate("gate.instance=a") as gate,
    ):
        with Guests(scenario) as guests:
            for _ in scenario.rounds():
                seen = scenario.watch.n_seen
                scenario.strike(lambda: storm(scenario))
                assert scenario.watch.n_seen > seen
        scenario.until_all()
        assert gate.process.poll() is None
        assert len(guests.exits) >= scenario.size.rounds
        assert set(guests.exits) == {0}


def test_partitions_that_are_added_are_read_from_their_start(stand: Stand) -> None:
    with stand.scenario("partitions added", rounds=1) as scenario, scenario.gate() as gate:
        topic, n_before = scenario.settings.topics.input, scenario.size.messages
        for _ in scenario.rounds():
            with KafkaAdminClient(**stand.kafka) as admin:
                count = len(admin.describe_topics([topic])[0]["partitions"])
                admin.create_partitions({topic: NewPartitions(count + N_ADDED)})
            n_more = n_before // 10
            until(partial(has_partitions, scenario, count + N_ADDED), "the new partitions have leaders")
            with KafkaProducer(**stand.kafka, acks="all") as producer:
                for i in range(n_more):
                    value = scenario.lab.candidate(n_before + i, document=f"boot no. {i}")
                    producer.send(topic, value, partition=count + i % N_ADDED)
                producer.flush()
        scenario.until_all(n_before + n_more)
        assert gate.process.poll() is None


class Guests(Background):
    """Whole gates, one after the other: each joins, is given partitions, works on them for a while, and ends.

    Args:
        scenario: Whose gates they are.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._scenario = scenario
        self.exits: list[int] = []

    def run(self) -> None:
        """Start one whenever one has ended."""
        while not self.stopping.is_set():
            with self._scenario.gate("gate.instance=guest", *SMALL) as guest:
                guest.until(lambda guest=guest: guest.status().get("partitions"), "is given partitions")
                self.stopping.wait(VISIT_S)
                self.exits.append(guest.stop())


def storm(scenario: Scenario) -> None:
    """Members like a gate's join, are given partitions, and leave, one after the other."""
    settings, until_s = scenario.settings, time.monotonic() + STORM_S
    while time.monotonic() < until_s:
        visitor = Member(
            settings.kafka,
            group=settings.gate.group,
            topic=settings.topics.input,
            instance="visitor",
            session_timeout_s=settings.gate.session_timeout_s,
        )
        leaves_at = time.monotonic() + VISIT_S
        while time.monotonic() < leaves_at:
            visitor.poll(0.2)
        visitor.close(leave=True)
        time.sleep(1.0)


def has_partitions(scenario: Scenario, n: int) -> bool:
    with KafkaAdminClient(**scenario.settings.kafka) as admin:
        [topic] = admin.describe_topics([scenario.settings.topics.input])
    led = [one for one in topic["partitions"] if one["leader_id"] >= 0]
    return len(led) == n
