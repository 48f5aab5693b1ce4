"""Memory is judged by executions of one age, and not by too few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from tests.faults.looks import LOOK_EVERY_S, Sample, growth_mb, is_flat

LIVED_S = 20.0


def looks(*lives: list[tuple[int, float]]) -> list[Sample]:
    """Of keepers, each with its executions: how many looks it lived for, and its memory."""
    return list(_looks(lives))


def _looks(lives: tuple[list[tuple[int, float]], ...]) -> Iterator[Sample]:
    at = count()
    for keeper, executions in enumerate(lives, 1):
        for number, (n, mb) in enumerate(executions, 1):
            for _ in range(n):
                at_s = next(at) * LOOK_EVERY_S
                yield Sample(at_s, 0, 0, keeper, number, {"keeper": mb, "runner": mb}, {})


@pytest.mark.parametrize("kind", ["keeper", "runner"])
def test_memory_that_grows_with_each_execution_is_told(kind: str) -> None:
    samples = looks([(6, 100.0 + 5 * i) for i in range(6)])
    assert growth_mb(samples, kind, LIVED_S) == 5.0
    assert is_flat(samples, kind, LIVED_S) is False


def test_memory_that_goes_up_and_down_is_flat() -> None:
    samples = looks([(6, 100.0 + (i % 2)) for i in range(9)])
    assert is_flat(samples, "keeper", LIVED_S) is True
    assert is_flat(samples, "runner", LIVED_S) is True


def test_a_keeper_is_judged_within_each_of_its_lives_and_a_runner_over_all_of_them() -> None:
    samples = looks([(6, 100.0)] * 2, [(6, 300.0)] * 5, [(6, 500.0)] * 2)
    assert growth_mb(samples, "keeper", LIVED_S) == 0.0
    assert growth_mb(samples, "runner", LIVED_S) > 40.0


def test_what_several_lives_of_a_keeper_grow_is_told_although_each_is_short() -> None:
    samples = looks(*[[(6, start + 4.0 * i) for i in range(3)] for start in (100.0, 90.0, 110.0)])
    assert growth_mb(samples, "keeper", LIVED_S) == 4.0


def test_a_look_at_which_the_gate_did_not_answer_cuts_no_execution_in_two() -> None:
    samples = looks([(6, 100.0)] * 5)
    unanswered = [replace(one, execution=0) if i % 6 == 3 else one for i, one in enumerate(samples)]
    assert growth_mb(unanswered, "runner", LIVED_S) == 0.0


def test_executions_that_ended_early_do_not_count_and_few_say_nothing() -> None:
    assert growth_mb(looks([(6, 100.0), (2, 900.0)] * 4), "runner", LIVED_S) == 0.0
    assert is_flat(looks([(6, 100.0)] * 3), "runner", LIVED_S) is None
