"""What is let in, by a clock that goes when it is told to."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from actors.scorer import Scores
from pipeline.codec import Origins
from pipeline.records import Candidates
from pipeline.serving.admission import Admission
from pipeline.serving.errors import Refusal
from pipeline.serving.values import Batch, Judged, Scored, Source
from tests.fakes import Clock


def admission(clock: Clock | None = None) -> Admission:
    """A second may wait; pairs have at most 64 tokens; a full batch has 1,000."""
    return Admission(max_wait_s=1.0, max_tokens=64, budget_tokens=1000, clock=clock or Clock())


def scored(n_pairs: int, *batches: Batch, replica: str = "a") -> Scored:
    nothing = np.zeros(n_pairs, np.float32)
    return Scored(
        Scores(nothing, nothing, np.zeros(n_pairs, np.int8)), {}, 1.0, batches, Source(replica, "b")
    )


def judged(n_pairs: int, n_tokens: int, *batches: Batch, replica: str = "a") -> Judged:
    nowhere = Origins.of(Candidates([], [], [], [], []), [])
    return Judged(nowhere, scored(n_pairs, *batches, replica=replica), [], n_tokens)


def test_the_first_is_let_in_however_large_and_before_anything_was_measured() -> None:
    with admission().let_in(100_000):
        pass


def test_before_anything_was_measured_one_at_a_time_is_let_in() -> None:
    door = admission()
    with door.let_in(1), pytest.raises(Refusal) as refused, door.let_in(1):
        pass
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)


def test_what_is_before_a_request_decides_and_says_when_to_come_again() -> None:
    door = admission()
    door.learn(judged(1000, 10_000, Batch(100, 1000, 1.0)))  # ten tokens for a pair, 1,000 tokens a second
    with ExitStack() as inside:
        inside.enter_context(door.let_in(95))
        assert door.waiting_tokens == pytest.approx(950, rel=0.01)
        inside.enter_context(door.let_in(250))  # its own size is not what it waits for
        with pytest.raises(Refusal) as refused:
            inside.enter_context(door.let_in(1))
        assert (refused.value.status, refused.value.retry_after_s) == (429, 4)
        assert door.n_requests == 2
    assert (door.n_requests, door.waiting_tokens) == (0, 0)
    with door.let_in(1):
        pass


def test_who_fails_inside_leaves_nothing_behind() -> None:
    door = admission()
    with pytest.raises(RuntimeError), door.let_in(9):
        raise RuntimeError
    assert (door.n_requests, door.waiting_tokens) == (0, 0)


def test_each_replica_that_answered_within_a_minute_counts() -> None:
    clock = Clock()
    door = admission(clock)
    door.learn(judged(1, 10, Batch(100, 1000, 1.0), replica="a"))
    clock.step(30)
    door.learn(judged(1, 10, replica="b"))
    assert (door.replicas, door.tokens_per_s) == (2, 2000)
    clock.step(40)
    assert (door.replicas, door.tokens_per_s) == (1, 1000)
    clock.step(3600)
    assert (door.replicas, door.tokens_per_s) == (0, 1000), "after an idle hour one may be hoped for"


def test_a_batch_that_is_nearly_empty_says_nothing_about_the_rate_under_load() -> None:
    door = admission()
    door.learn(judged(1, 16, Batch(100, 1000, 1.0)))
    for _ in range(100):
        door.learn(judged(1, 16, Batch(1, 16, 0.5)))
    assert door.tokens_per_s == 1000


def test_the_rate_follows_what_is_measured() -> None:
    door = admission()
    door.learn(judged(1, 16, Batch(100, 1000, 1.0)))
    for _ in range(50):
        door.learn(judged(1, 16, Batch(100, 1000, 0.5)))
    assert door.tokens_per_s == pytest.approx(2000, rel=0.01)


def test_an_answer_without_scores_teaches_nothing() -> None:
    door = admission()
    door.learn(Judged(Origins.of(Candidates([], [], [], [], []), []), None))
    assert (door.tokens_per_s, door.replicas) == (0, 0)
