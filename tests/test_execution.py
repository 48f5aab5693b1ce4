from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from pipeline import link
from pipeline.execution import Execution, Outcome
from pipeline.records import Claim, Mode, TopicPartition
from pipeline.settings import Settings
from tests.fake_runner import FAILS_AT, IS_KILLED_AT, LEAVES_A_CHILD_AT, PROGRAM, SLEEPS_AT
from tests.test_process import ends


def claim(start: int) -> Claim:
    return Claim(TopicPartition("in", 0), start, start + 1, 1, Mode.ENFORCE)


@pytest.fixture
def execution() -> Iterator[Execution]:
    started = Execution(7, Settings(bundle="b"), PROGRAM)
    yield started
    started.close()


def take(execution: Execution, until: Callable[[list[link.Frame]], object]) -> list[link.Frame]:
    """What came back, up to where the test has seen enough."""
    frames: list[link.Frame] = []
    deadline = time.monotonic() + 120
    while not until(frames):
        assert time.monotonic() < deadline, "it never came"
        frames += execution.take(0.1)
    return frames


def test_claims_go_in_and_come_back_and_told_to_end_it_finishes_what_it_holds(execution: Execution) -> None:
    assert (execution.warm, execution.outcome()) == (False, None)
    execution.hand(map(claim, range(5)))
    execution.end()
    frames = take(execution, lambda _: execution.outcome())
    assert frames[0] == link.Warm()
    assert [frame.claim.start for frame in frames[1:]] == [0, 1, 2, 3, 4]
    assert frames[1].because == str(execution.pid)
    assert (execution.warm, execution.n_results) == (True, 6)
    assert execution.outcome() is Outcome.FINISHED


def test_one_that_gives_up_has_failed_and_what_it_gave_back_before_is_not_lost(execution: Execution) -> None:
    """Its end was told before its last answers were taken: a claim that had come back was under suspicion."""
    execution.hand([claim(FAILS_AT)])
    deadline = time.monotonic() + 120
    while execution._process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert execution.outcome() is None, "its answers still wait"
    frames = take(execution, lambda _: execution.outcome())
    assert frames == [link.Warm(), link.Unread(claim(FAILS_AT), str(execution.pid))]
    assert execution.outcome() is Outcome.FAILED


def test_one_that_was_killed_is_told_apart(execution: Execution) -> None:
    execution.hand([claim(IS_KILLED_AT)])
    take(execution, lambda _: execution.outcome())
    assert execution.outcome() is Outcome.KILLED


def test_closing_ends_it_with_everything_that_it_started(execution: Execution) -> None:
    execution.hand([claim(LEAVES_A_CHILD_AT), claim(SLEEPS_AT)])
    *_, child = take(execution, lambda frames: len(frames) == 2)
    execution.close()
    execution.close()
    assert ends(execution.pid)
    assert ends(int(child.because))


def test_when_it_was_last_heard_of_is_known(execution: Execution) -> None:
    started_at = execution.heard_at
    take(execution, lambda frames: frames)
    heard_at = execution.heard_at
    assert heard_at > started_at
    execution.take(0.05)
    assert execution.heard_at == heard_at, "silence is no sign of life"


def test_one_that_found_no_cluster_is_told_apart() -> None:
    lost = Execution(1, Settings(bundle="b"), ("-c", f"raise SystemExit({link.NO_CLUSTER})"))
    take(lost, lambda _: lost.outcome())
    assert lost.outcome() is Outcome.NO_CLUSTER
    lost.close()


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import os; os.kill(os.getpid(), 11)"])
def test_one_that_ends_before_it_is_warm_is_told_apart_however_it_ends(program: str) -> None:
    """A crash by a signal counted as a kill, and the runner was started again for ever."""
    stillborn = Execution(1, Settings(bundle="b"), ("-c", program))
    take(stillborn, lambda _: stillborn.outcome())
    assert stillborn.outcome() is Outcome.NEVER_WARM
    stillborn.close()
