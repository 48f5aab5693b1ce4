"""Topics as they are in the world: with markers, with holes, with a start that has moved, and held up."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from pipeline.kafka import topics
from pipeline.kafka.fault_points import VARIABLE, Step
from pipeline.reconcile import reconcile_topics
from tests.faults.stand import PATIENCE_S, Scenario, Stand, until
from tests.integration.gates import N_PARTITIONS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

APART_MS = 10_000
"""From the messages of one segment to those of the next, by their timestamps."""
COMPACTED = {
    "cleanup_policy": "compact",
    "segment_ms": str(APART_MS // 2),
    "min_cleanable_dirty_ratio": "0.01",
}
N_SEGMENTS = 3
"""The latest one is never compacted."""
N_TRANSACTIONS = 60
LONG = "publish.transaction_timeout_s=50"
"""So long that a gate which is started again is back before."""
BROKERS_LOOK_S = 10.0
"""How often a broker looks for transactions that have outlived their time-out, by default."""
LOOKING_S = 10.0
"""What a look at all outputs takes at most, on a busy machine."""


def test_a_topic_whose_tail_is_markers_is_read_to_its_end(stand: Stand) -> None:
    with stand.scenario("input whose tail is transaction markers", rounds=1, seeds=False) as scenario:
        n = scenario.size.messages
        values = seeds(scenario, n)
        with transactional(stand) as producer:
            for part in range(N_TRANSACTIONS):
                producer.begin_transaction()
                send(producer, scenario, values[part::N_TRANSACTIONS])
                producer.commit_transaction()
            for _ in range(3):
                producer.begin_transaction()
                send(producer, scenario, values[:10])
                producer.flush()
                producer.abort_transaction()
        with scenario.gate("--until-drained") as gate:
            assert gate.process.wait(PATIENCE_S) == 0
        scenario.until_all(n)


def test_a_compacted_topic_is_read_around_its_holes(stand: Stand) -> None:
    with stand.scenario("compacted input", rounds=1, seeds=False, **COMPACTED) as scenario:
        n = scenario.size.messages // N_SEGMENTS
        n_keys = N_PARTITIONS * (n // 30)  # so that all of a key is in one partition
        began_ms = round(time.time() * 1000) - N_SEGMENTS * APART_MS
        with KafkaProducer(**stand.kafka, acks="all") as producer:
            for number in range(N_SEGMENTS):
                at_ms = began_ms + number * APART_MS
                send(producer, scenario, seeds(scenario, n), n_keys=n_keys, at_ms=at_ms)
                producer.flush()
        # All that ever will be: what is taken away later, its verdict would be one of nothing.
        until(lambda: held(scenario) == n_keys + n, "the brokers have compacted all but the latest segment")
        with scenario.gate("--until-drained") as gate:
            assert gate.process.wait(PATIENCE_S) == 0
    assert scenario.report.candidates == n_keys + n


@pytest.mark.parametrize("on_lost", ["stop", "skip"])
def test_retention_that_overtakes_the_reader_is_told(stand: Stand, on_lost: str) -> None:
    name = f"retention overtakes the reader, gate.on_lost {on_lost}"
    with stand.scenario(name, f"gate.on_lost={on_lost}", rounds=1) as scenario:
        with scenario.gate() as gate:
            scenario.until_more(scenario.size.messages // 10)
            gate.stop()
        scenario.hurry()
        committed = positions(scenario)
        with KafkaAdminClient(**stand.kafka) as admin:
            admin.delete_records({TopicPartition(*one): at + 50 for one, at in committed.items()})
        with scenario.gate("--until-drained") as gate:
            code = gate.process.wait(PATIENCE_S)
            if on_lost == "stop":
                assert code == 65
                assert "retention deleted at least" in gate.log
            else:
                assert code == 0
        if on_lost == "stop":
            with scenario.gate("--until-drained", "gate.on_lost=skip") as accepting:
                assert accepting.process.wait(PATIENCE_S) == 0
    deleted = sum(at + 50 for at in committed.values())
    assert scenario.report.candidates == scenario.size.messages - deleted


@pytest.mark.parametrize("how", ["restarted", "gone for good"])
def test_what_a_dead_gate_left_open_holds_up_readers_no_longer_than_promised(stand: Stand, how: str) -> None:
    own = (LONG,) if how == "restarted" else ()
    with stand.scenario(f"open transaction of a dead gate, {how}", *own) as scenario:
        timeout_s = scenario.settings.publish.transaction_timeout_s
        for number in range(scenario.size.rounds):
            with scenario.gate(**{VARIABLE: f"{Step.AFTER_SENDS}@{8 + number}"}) as gate:
                until(lambda gate=gate: gate.process.poll() is not None, "the gate has died")
            died = time.monotonic()
            assert is_held_up(scenario)
            if how == "restarted":
                with scenario.gate():
                    held_s = freed_after(scenario, died)
                    scenario.until_more(1)
                assert held_s < timeout_s
            else:
                held_s = freed_after(scenario, died)
                assert held_s < timeout_s + BROKERS_LOOK_S + LOOKING_S
            scenario.recoveries.append(held_s)
        scenario.hurry()
        with scenario.gate() as last:
            scenario.until_all()
            assert last.process.poll() is None


def seeds(scenario: Scenario, n: int) -> list[bytes]:
    return [scenario.lab.candidate(i, document=f"boot no. {i}") for i in range(n)]


def transactional(stand: Stand) -> KafkaProducer:
    producer = KafkaProducer(**stand.kafka, transactional_id="seeds", retry_backoff_ms=10)
    producer.init_transactions()
    return producer


def send(
    producer: KafkaProducer,
    scenario: Scenario,
    values: Iterable[bytes],
    *,
    n_keys: int = 0,
    at_ms: int | None = None,
) -> None:
    topic = scenario.settings.topics.input
    for i, value in enumerate(values):
        key = b"%d" % (i % n_keys) if n_keys else None
        producer.send(topic, value, key, partition=i % N_PARTITIONS, timestamp_ms=at_ms)


def held(scenario: Scenario) -> int:
    """Messages that the input still holds."""
    return reconcile_topics(scenario.settings, to_end=True).candidates


def positions(scenario: Scenario) -> dict[topics.TopicPartition, int]:
    settings = scenario.settings
    return topics.committed(settings.kafka, settings.gate.group, settings.topics.input)


def is_held_up(scenario: Scenario) -> bool:
    """Whether an output holds something that a read_committed reader is not shown yet."""
    outputs = scenario.settings.topics.outputs.values()
    extents = [one for topic in outputs for one in topics.extents(scenario.settings.kafka, topic).values()]
    return any(one.last_stable < one.high_watermark for one in extents)


def freed_after(scenario: Scenario, died: float) -> float:
    """For how long readers were held up, in seconds."""
    until(lambda: not is_held_up(scenario), "readers see all that there is")
    return time.monotonic() - died
