"""Answers come late or never: what is committed stays committed once, and nothing ends another's transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.faults.proxy import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    FETCH,
    HEARTBEAT,
    LIST_OFFSETS,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Fate,
    Frame,
    Proxy,
    Rule,
    passes,
)
from tests.faults.stand import Stand, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

REQUEST_TIMEOUT_S = 4.0
"""After so long without an answer the gate's client hangs up, and sends again."""
LATE_S = 7.0
"""How late a held request arrives: the gate has sent it again, and is in a later transaction, by then."""


class Once:
    """A rule that meets one frame, and lets all others pass.

    Args:
        api: Kafka's number of the request.
        fate: What becomes of it.
        is_answer: Whether its answer is meant.
    """

    def __init__(self, api: int, fate: Fate | float, *, is_answer: bool) -> None:
        self._wanted = (api, is_answer)
        self._fate = fate
        self.met = threading.Event()

    def __call__(self, frame: Frame) -> Fate | float:
        if self.met.is_set() or (frame.api, frame.is_answer) != self._wanted:
            return Fate.PASSES
        self.met.set()
        return self._fate


@pytest.mark.parametrize(
    ("name", "api", "fate", "is_answer"),
    [
        ("EndTxn delivered late, after it was sent again", END_TXN, LATE_S, False),
        ("answer to EndTxn cut off", END_TXN, Fate.IS_CUT, True),
        ("answer to EndTxn lost", END_TXN, Fate.IS_LOST, True),
        ("EndTxn cut off", END_TXN, Fate.IS_CUT, False),
        ("answer to TxnOffsetCommit cut off", TXN_OFFSET_COMMIT, Fate.IS_CUT, True),
        ("answer to Produce cut off", PRODUCE, Fate.IS_CUT, True),
        ("answer to Produce lost", PRODUCE, Fate.IS_LOST, True),
        ("Produce delivered late, after it was sent again", PRODUCE, LATE_S, False),
        ("answer to AddPartitionsToTxn lost", ADD_PARTITIONS_TO_TXN, Fate.IS_LOST, True),
        ("answer to AddOffsetsToTxn cut off", ADD_OFFSETS_TO_TXN, Fate.IS_CUT, True),
        ("answer to Fetch cut off", FETCH, Fate.IS_CUT, True),
        ("answer to Heartbeat lost", HEARTBEAT, Fate.IS_LOST, True),
        ("answer to ListOffsets lost", LIST_OFFSETS, Fate.IS_LOST, True),
    ],
)
def test_a_request_or_an_answer_that_fails_is_borne(
    stand: Stand, proxy: Proxy, name: str, api: int, fate: Fate | float, is_answer: bool
) -> None:
    through = f"kafka.bootstrap_servers={proxy.bootstrap_servers}"
    patience = f"kafka.request_timeout_ms={REQUEST_TIMEOUT_S * 1000:.0f}"
    with stand.scenario(name) as scenario, scenario.gate(through, patience) as gate:
        for _ in scenario.rounds():
            rule, n_late = Once(api, fate, is_answer=is_answer), len(proxy.delivered)
            scenario.strike(lambda rule=rule: until_met(proxy, rule))
            if not isinstance(fate, Fate):
                until(lambda n=n_late: len(proxy.delivered) > n, "the late one arrives")
        scenario.until_all()
        assert gate.process.poll() is None


def test_a_slow_network_slows_and_breaks_nothing(stand: Stand, proxy: Proxy) -> None:
    through = f"kafka.bootstrap_servers={proxy.bootstrap_servers}"
    name = "every answer half a second late"
    with stand.scenario(name, busy_s=60.0) as scenario, scenario.gate(through) as gate:
        for _ in scenario.rounds():
            scenario.strike(lambda: for_a_while(proxy, lambda frame: 0.5 if frame.is_answer else Fate.PASSES))
        scenario.until_all()
        assert gate.process.poll() is None


def until_met(proxy: Proxy, rule: Once) -> None:
    proxy.rule = rule
    until(rule.met.is_set, "the request comes by")


def for_a_while(proxy: Proxy, rule: Callable[[Frame], Fate | float], seconds: float = 10.0) -> None:
    applied: Rule = rule
    proxy.rule = applied
    time.sleep(seconds)
    proxy.rule = passes
