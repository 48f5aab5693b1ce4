from __future__ import annotations

import json

import pytest

from actors.rubric import SEVERE_OR_NOT, Rubric

ESCI = Rubric({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}, frozenset({"I"}))


def test_comes_back_equal_and_in_order_through_json():
    again = Rubric.from_json(json.loads(json.dumps(ESCI.to_json(), sort_keys=True)))

    assert again == ESCI
    assert again.levels == ("E", "S", "C", "I")


@pytest.mark.parametrize("severe", [frozenset(), frozenset("ESCI"), frozenset("X"), frozenset("IX")])
def test_needs_severe_levels_and_others(severe):
    with pytest.raises(ValueError, match="severe levels and others"):
        Rubric(ESCI.gains, severe)


def test_a_gain_is_a_finite_number():
    with pytest.raises(ValueError, match="not finite"):
        Rubric({"a": float("nan"), "b": 0.0}, frozenset("b"))


def test_the_plainest_one_has_two_levels():
    assert SEVERE_OR_NOT.levels == ("fine", "severe")
