"""The promise of the product, on real parts: nothing missing, nothing repeated, whatever dies.

Each test ends in an account over input and outputs, made by a read_committed reader that follows all the while.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest

from pipeline.codec.arrow_stream import write_stream
from pipeline.follow import Follower
from pipeline.kafka import topics
from pipeline.reconcile import reconcile_topics
from tests.fakes import PoisonScorer
from tests.integration.gates import Gate, Lab

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

ARROW = ("content-type", b"application/vnd.apache.arrow.stream")
N = 450
"""Messages: with the tests' model some seconds of work, so that what is killed is killed in the middle."""


@contextmanager
def followed(lab: Lab, *overrides: str) -> Iterator[Follower]:
    """A reader during the faults; at the end it and a reader after them must agree that all is well."""
    settings = lab.settings(*overrides)
    with Follower(settings) as follower:
        yield follower
        during = follower.report(to_end=True)
    after = reconcile_topics(settings, to_end=True)
    assert during.closed, during.examples
    assert after.closed, after.examples
    assert during == after


def pid_of(replica: str) -> int:
    return int(replica.rpartition(":")[2])


def test_what_a_stopped_gate_and_a_killed_one_leave_their_successor_finishes(lab: Lab) -> None:
    lab.produce(N)
    with followed(lab):
        with lab.gate() as stopped:
            stopped.until_settled(N // 5)
            assert stopped.stop() == 0
        done = n_committed(lab)
        assert N // 5 <= done <= N
        lab.produce(done, first=N)  # as much as before is left for the next
        with lab.gate() as killed:
            killed.until_settled(N // 5)
            killed.kill()
        with lab.gate("--until-drained") as successor:
            assert successor.until_drained() == 0


def test_a_killed_replica_is_replaced_within_its_execution_and_a_killed_runner_by_another(lab: Lab) -> None:
    lab.produce(N)
    with followed(lab), lab.gate() as gate:
        gate.until_settled(N // 5)
        (replica,) = gate.status()["replicas"]
        os.kill(pid_of(replica), signal.SIGKILL)
        lab.produce(N // 5, first=N)  # so that something is left, however late the kill came
        gate.until(lambda: len(gate.status()["replicas"]) == 2, "has another replica")
        assert gate.status()["execution"] == 1

        os.kill(gate.status()["runner"], signal.SIGKILL)
        lab.produce(N // 5, first=N + N // 5)
        gate.until_settled(N + 2 * (N // 5))
        assert gate.status()["execution"] == 2


def test_gates_of_one_group_share_the_partitions_and_take_over_from_each_other(lab: Lab) -> None:
    in_short = "publish.transaction_timeout_s=8"  # for as long a killed gate holds up the reader
    with followed(lab), lab.gate("gate.instance=a") as a, lab.gate("gate.instance=b", in_short) as b:
        for gate in (a, b):
            gate.until_assigned()
        lab.produce(N)  # not before: one would be through before the other is there
        for gate in (a, b):
            gate.until_settled(10)
        assert a.stop() == 0
        lab.produce(N, first=N)
        b.until(lambda: len(b.status()["partitions"]) == 3, "has all partitions")
        with lab.gate("gate.instance=a") as again:
            again.until_assigned()
            b.kill()
            until_committed(lab, again, 2 * N)


def test_a_stalled_gate_is_replaced_and_writes_nothing_when_it_wakes(lab: Lab) -> None:
    lab.produce(N)
    # Its open transaction holds up its successor until the broker's time-out.
    with followed(lab), lab.gate("gate.instance=a", "publish.transaction_timeout_s=8") as stalled:
        stalled.until_settled(N // 5)
        stalled.process.send_signal(signal.SIGSTOP)
        with lab.gate("gate.instance=b") as successor:
            until_committed(lab, successor, N)
            stalled.process.send_signal(signal.SIGCONT)
            lab.produce(N // 5, first=N)
            until_committed(lab, successor, N + N // 5)


def test_a_killed_broker_comes_back_to_a_gate_that_waited(own_broker_lab: Lab) -> None:
    lab = own_broker_lab
    lab.produce(N)
    with followed(lab), lab.gate() as gate:
        gate.until_settled(N // 5)
        lab.broker.kill(0)
        time.sleep(2)
        lab.broker.restart(0)
        settled = gate.status()["records"]
        gate.until(lambda: gate.status()["records"] > settled, "settles more after the broker's return", 60)
        gate.until_settled(N)


def test_a_row_that_kills_its_replica_is_rejected_alone_also_within_a_batch_message(lab: Lab) -> None:
    lab.send(lab.candidate(i, document=number) for i, number in enumerate(["50", "150", "250", "50", "150"]))
    rows = {
        "candidate_id": ["a", "poison", "b"],
        "query": ["red shoes"] * 3,
        "document": ["50", str(PoisonScorer.IS_KILLED), "250"],
    }
    lab.send([write_stream(pa.RecordBatch.from_pydict(rows))], headers=[ARROW])
    fakes = ["pool.scorer=tests.fakes:PoisonScorer", "pool.preparer=tests.fakes:ArithmeticPreparer"]
    with followed(lab), lab.gate(*fakes, "claims.max_offsets=2", "claims.min_offsets=1") as gate:
        until_committed(lab, gate, 6)
    report = reconcile_topics(lab.settings())
    # A message that is rejected as a whole counts as one candidate: here each neighbour has its verdict.
    assert (report.rejected, report.candidates) == (1, 5 + 3)


def test_bad_input_is_rejected_and_the_rest_is_scored_and_audited_where_passes_are_not_sent(lab: Lab) -> None:
    bad = [b"", b"\xff", b"{", b"[]", b'{"candidate_id": "a"}', b'{"candidate_id":"a","candidate_id":"b"}']
    lab.produce(60)
    lab.send(bad)
    with followed(lab, "topics.pass=null"), lab.gate("topics.pass=null", "--until-drained") as gate:
        assert gate.until_drained() == 0
    report = reconcile_topics(lab.settings("topics.pass=null"), to_end=True)
    assert report.pass_ > 0
    assert (report.rejected, report.candidates) == (len(bad), 60 + len(bad))


def test_an_idle_gate_lets_its_pool_go_and_an_old_execution_is_replaced(lab: Lab) -> None:
    lab.produce(10)
    with followed(lab), lab.gate("gate.idle_after_s=2", "execution.max_blocks=6") as gate:
        gate.until_settled(10)
        gate.until(lambda: gate.status()["runner"] is None, "lets its pool go")
        lab.produce(N // 2, first=10)
        gate.until_settled(10 + N // 2)
        assert gate.status()["execution"] >= 3, "the second was old"


def test_the_brake_sends_prunes_to_review_from_the_moment_it_trips_also_after_a_restart(lab: Lab) -> None:
    window = 60
    brake = ["gate.max_prune_share=0.2", f"gate.brake_window={window}"]
    lab.produce(N)
    with followed(lab):
        with lab.gate(*brake) as gate:
            gate.until_settled(N)
            assert gate.status()["mode"] == "braked"
            assert gate.status()["counts"]["prune"] > N * 0.2  # what the policy says is recorded as it is
            gate.kill()
        pruned = reconcile_topics(lab.settings()).prune
        assert pruned < window
        lab.produce(N // 5, first=N)
        with lab.gate(*brake, "--until-drained") as successor:
            assert successor.until_drained() == 0
            assert "the brake is on, as it was" in successor.log
    report = reconcile_topics(lab.settings())
    assert (report.prune, report.candidates) == (pruned, N + N // 5)


def n_committed(lab: Lab) -> int:
    settings = lab.settings()
    return sum(topics.committed(settings.kafka, lab.group, settings.topics.input).values())


def until_committed(lab: Lab, gate: Gate, n: int) -> None:
    gate.until(lambda: n_committed(lab) >= n, f"sees {n} messages committed")
