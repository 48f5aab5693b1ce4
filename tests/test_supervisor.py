from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.errors import ClusterUnreachable, ExecutionFailed
from pipeline.execution import Outcome
from pipeline.link import Unread, Warm
from pipeline.metrics import Metrics
from pipeline.records import Claim, Mode, TopicPartition
from pipeline.supervisor import MAX_FAILED_STARTS, PAUSE_S, Budget, Supervisor
from tests.fakes import Clock, FakeExecution

BUDGET = Budget(
    start_s=100, cluster_s=600, max_age_s=10_000, max_results=50, hang_s=300, end_s=30, idle_s=600
)
CLAIM = Claim(TopicPartition("in", 0), 0, 1, 1, Mode.ENFORCE)


class Bench:
    """A supervisor on a clock of its own, and every execution that it started."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.started: list[FakeExecution] = []
        self.supervisor = Supervisor(BUDGET, self._start, self.metrics, self.clock)

    def _start(self, number: int) -> FakeExecution:
        self.started.append(FakeExecution(number, self.clock))
        return self.started[-1]

    @property
    def running(self) -> FakeExecution:
        return self.started[-1]

    def tend(
        self, after_s: float = 0.0, *, wanted: bool = True, n_out: int = 0, overtaken: Sequence[Claim] = ()
    ) -> Outcome | None:
        self.clock.step(after_s)
        return self.supervisor.tend(wanted=wanted, n_out=n_out, overtaken=overtaken)

    def find_no_cluster(self, after_s: float = 0.0) -> Outcome | None:
        """The execution that runs, or that starts now, ends because no cluster answers."""
        self.tend()
        self.running.ended = Outcome.NO_CLUSTER
        return self.tend(after_s)

    def warm_up(self) -> FakeExecution:
        self.tend()
        self.running.give(Warm())
        self.supervisor.take(0.0)
        return self.running

    def pause_sum(self) -> str:
        text = self.metrics.exposition().decode()
        return next(line.split()[1] for line in text.splitlines() if "rotation_pause_seconds_sum" in line)


def test_the_first_execution_starts_unasked_so_that_the_pool_warms_up() -> None:
    bench = Bench()
    assert bench.tend(wanted=False) is None
    assert [one.number for one in bench.started] == [1]
    assert bench.supervisor.takes_claims
    assert not bench.supervisor.warm
    bench.running.give(Warm())
    bench.supervisor.take(0.0)
    assert bench.supervisor.warm


def test_without_an_execution_nothing_comes_back() -> None:
    bench = Bench()
    assert bench.supervisor.take(0.0) == []
    assert not bench.supervisor.takes_claims
    bench.supervisor.hand([CLAIM])


def test_claims_go_to_the_execution_that_runs() -> None:
    bench = Bench()
    execution = bench.warm_up()
    bench.supervisor.hand([CLAIM])
    assert execution.handed == [CLAIM]


def test_one_that_does_not_warm_up_is_replaced() -> None:
    bench = Bench()
    bench.tend()
    assert bench.tend(BUDGET.start_s) is None
    assert bench.tend(1) is Outcome.NEVER_WARM
    assert bench.running.killed
    assert bench.running.closed


def test_one_that_gives_nothing_back_has_failed() -> None:
    bench = Bench()
    execution = bench.warm_up()
    assert bench.tend(BUDGET.hang_s, n_out=1) is None
    execution.give(Unread(CLAIM, "busy"))
    bench.supervisor.take(0.0)
    assert bench.tend(BUDGET.hang_s, n_out=1) is None
    assert bench.tend(1, n_out=1) is Outcome.FAILED


def test_one_that_gives_back_all_but_one_claim_has_failed() -> None:
    """One of several replicas hung: the others went on, so that nothing was taken for hung, and its claim's
    partition stood still until the execution was of age."""
    bench = Bench()
    execution = bench.warm_up()
    for n in range(4):
        execution.give(Unread(replace(CLAIM, start=n + 1, end=n + 2), "busy"))
        bench.supervisor.take(0.0)
        assert bench.tend(0 if n == 0 else BUDGET.hang_s / 2, n_out=2, overtaken=[CLAIM]) is None
    for after_s in (BUDGET.hang_s / 2, 1):
        execution.give(Unread(CLAIM, "busy"))
        bench.supervisor.take(0.0)
        outcome = bench.tend(after_s, n_out=2, overtaken=[CLAIM])
    assert outcome is Outcome.FAILED
    assert execution.killed


def test_how_long_a_claim_was_overtaken_counts_for_one_execution_alone() -> None:
    bench = Bench()
    bench.warm_up()
    bench.tend(n_out=1, overtaken=[CLAIM])
    bench.running.ended = Outcome.KILLED
    assert bench.tend(BUDGET.hang_s, n_out=1, overtaken=[CLAIM]) is Outcome.KILLED
    bench.tend(BUDGET.hang_s, n_out=1, overtaken=[CLAIM])
    bench.running.give(Warm())
    bench.supervisor.take(0.0)
    for _ in range(2):
        assert bench.tend(BUDGET.hang_s, n_out=1, overtaken=[CLAIM]) is None
        bench.running.give(Unread(replace(CLAIM, start=1, end=2), "busy"))
        bench.supervisor.take(0.0)


def test_a_quiet_time_does_not_count_as_hung() -> None:
    """The first claim after five quiet minutes found an execution that had given nothing back for so long: it
    was killed at once, and the claim was under suspicion."""
    bench = Bench()
    bench.warm_up()
    for _ in range(5):
        bench.tend(BUDGET.hang_s / 4, wanted=False, n_out=0)
    assert bench.tend(0.02, n_out=1) is None
    assert not bench.running.killed
    assert bench.tend(BUDGET.hang_s + 1, n_out=1) is Outcome.FAILED


def test_an_old_one_is_told_to_end_and_the_next_starts_when_it_has() -> None:
    bench = Bench()
    old = bench.warm_up()
    assert bench.tend(BUDGET.max_age_s + 1) is None
    assert old.ending_since is not None
    assert not bench.supervisor.takes_claims
    assert bench.tend(1) is None
    assert len(bench.started) == 1, "two at a time would starve each other"
    old.ended = Outcome.FINISHED
    assert bench.tend() is Outcome.FINISHED
    assert bench.tend() is None
    assert [one.number for one in bench.started] == [1, 2]


def test_one_that_gave_back_its_fill_is_told_to_end() -> None:
    bench = Bench()
    execution = bench.warm_up()
    execution.n_results = BUDGET.max_results
    bench.tend()
    assert execution.ending_since is not None


def test_one_that_does_not_end_is_killed_and_its_claims_are_not_to_blame() -> None:
    bench = Bench()
    bench.warm_up()
    bench.tend(BUDGET.max_age_s + 1)
    assert bench.tend(BUDGET.end_s, n_out=3) is None
    assert bench.tend(1, n_out=3) is Outcome.KILLED


def test_an_idle_one_is_let_go_and_comes_back_when_it_is_wanted() -> None:
    bench = Bench()
    idle = bench.warm_up()
    assert bench.tend(BUDGET.idle_s + 1, wanted=False) is None
    assert idle.ending_since is not None
    idle.ended = Outcome.FINISHED
    assert bench.tend(wanted=False) is Outcome.FINISHED
    for _ in range(3):
        assert bench.tend(1000, wanted=False) is None
    assert len(bench.started) == 1
    bench.tend(wanted=True)
    assert len(bench.started) == 2


def test_the_pause_is_what_candidates_waited_and_not_what_the_pool_was_idle() -> None:
    """An hour without candidates was told as an hour's pause at a rotation."""
    bench = Bench()
    bench.warm_up().ended = Outcome.FINISHED
    bench.tend(wanted=False)
    bench.tend(3600, wanted=False)
    bench.tend(wanted=True)
    bench.clock.step(12)
    bench.running.give(Warm())
    bench.supervisor.take(0.0)
    assert bench.pause_sum() == "12.0"


def test_what_follows_an_execution_that_died_is_said(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.tend()
    bench.running.ended = Outcome.NEVER_WARM
    bench.tend()
    assert "execution 1: never_warm; the next one starts as soon as anything waits" in caplog.text


def test_executions_that_never_get_warm_stop_the_gate() -> None:
    bench = Bench()
    for _ in range(MAX_FAILED_STARTS - 1):
        bench.tend()
        bench.running.ended = Outcome.NEVER_WARM
        assert bench.tend() is Outcome.NEVER_WARM
    bench.tend()
    bench.running.ended = Outcome.NEVER_WARM
    with pytest.raises(ExecutionFailed) as failed:
        bench.tend()
    assert failed.value.n_starts == MAX_FAILED_STARTS
    assert bench.running.closed


def test_one_that_got_warm_forgives_the_failed_starts_before_it() -> None:
    bench = Bench()
    for _ in range(3 * MAX_FAILED_STARTS):
        bench.tend()
        bench.running.ended = Outcome.NEVER_WARM
        bench.tend()
        bench.warm_up().ended = Outcome.FAILED
        assert bench.tend() is Outcome.FAILED


def test_a_cluster_that_does_not_answer_is_waited_for_however_many_executions_it_takes() -> None:
    """Three executions that found no cluster ended the gate, within a minute and as if it were broken."""
    bench = Bench()
    for n in range(1, 3 * MAX_FAILED_STARTS):
        assert bench.find_no_cluster(20) is Outcome.NO_CLUSTER
        assert bench.supervisor.without_cluster
        bench.tend(PAUSE_S / 2)
        assert len(bench.started) == n, "there is a pause before the next"
        bench.tend(PAUSE_S / 2, wanted=False)
        assert len(bench.started) == n + 1, "candidates or not: it is to be ready for them"
    bench.warm_up()
    assert not bench.supervisor.without_cluster


def test_a_cluster_that_stays_away_for_longer_than_the_budget_allows_stops_the_gate() -> None:
    bench = Bench()
    bench.find_no_cluster(BUDGET.cluster_s / 2)
    bench.clock.step(PAUSE_S)
    with pytest.raises(ClusterUnreachable) as away:
        bench.find_no_cluster(BUDGET.cluster_s / 2)
    assert away.value.waited_s == BUDGET.cluster_s + PAUSE_S
    assert bench.running.closed


def test_how_long_a_cluster_was_away_before_counts_no_more_once_it_has_answered() -> None:
    bench = Bench()
    for ended in (Outcome.KILLED, Outcome.NEVER_WARM):
        bench.find_no_cluster(BUDGET.cluster_s - 1)
        bench.tend(PAUSE_S)
        bench.running.ended = ended
        bench.tend()
        assert not bench.supervisor.without_cluster
    bench.find_no_cluster(BUDGET.cluster_s - 1)


def test_while_no_cluster_answers_candidates_wait_and_the_pause_says_so() -> None:
    bench = Bench()
    bench.warm_up().ended = Outcome.KILLED
    bench.tend()
    bench.find_no_cluster(40)
    bench.clock.step(PAUSE_S)
    bench.warm_up()
    assert bench.pause_sum() == "45.0"


def test_closing_kills_what_runs() -> None:
    bench = Bench()
    execution = bench.warm_up()
    bench.supervisor.close()
    bench.supervisor.close()
    assert execution.closed
    assert not bench.supervisor.takes_claims
