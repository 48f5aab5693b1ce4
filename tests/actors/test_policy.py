import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.policy import ActionCode, Guarantee, Policy


def decide(policy, *logits):
    return [ActionCode(code) for code in policy.decide(np.array(logits, dtype=np.float32))]


def test_a_threshold_belongs_to_the_harsher_side():
    policy = Policy(prune=2.0, review=1.0, rests_on="set by hand")
    assert decide(policy, 0.999, 1.0, 1.999, 2.0) == [
        ActionCode.PASS,
        ActionCode.REVIEW,
        ActionCode.REVIEW,
        ActionCode.PRUNE,
    ]


@given(st.floats(-50, 50), st.floats(0, 50), st.lists(st.floats(-100, 100, width=32)))
def test_every_logit_meets_the_thresholds_exactly_as_they_are_quoted(review, gap, logits):
    policy = Policy(prune=review + gap, review=review, rests_on="drawn")
    for logit, action in zip(logits, decide(policy, *logits), strict=True):
        wanted = "PRUNE" if logit >= policy.prune else "REVIEW" if logit >= policy.review else "PASS"
        assert action.name == wanted


def test_thresholds_are_not_rounded_to_the_logits_precision():
    # 0.1 in float32 lies above 0.1 in float64, and 0.7 below.
    assert decide(Policy(prune=0.1, review=0.1, rests_on="x"), 0.1) == [ActionCode.PRUNE]
    assert decide(Policy(prune=0.7, review=0.7, rests_on="x"), 0.7) == [ActionCode.PASS]


def test_equal_thresholds_leave_nothing_to_review_and_infinity_never_prunes():
    assert decide(Policy(prune=1.0, review=1.0, rests_on="x"), 1.0) == [ActionCode.PRUNE]
    assert decide(Policy(prune=math.inf, review=1.0, rests_on="x"), 1e30) == [ActionCode.REVIEW]


def test_a_logit_that_is_not_a_number_is_never_pruned():
    assert decide(Policy(prune=-5.0, review=-6.0, rests_on="x"), math.nan) == [ActionCode.PASS]


def test_no_logits_no_actions():
    assert decide(Policy(prune=1.0, review=0.0, rests_on="x")) == []


@pytest.mark.parametrize(
    "policy",
    [
        Policy(prune=2.0, review=0.5, rests_on="set by hand"),
        Policy(prune=math.inf, review=math.inf, rests_on="shadow"),
        Policy(prune=3.25, review=0.1, rests_on="1,200 labels", guarantee=Guarantee(0.98, 0.95, 5)),
        Policy(prune=3.25, review=0.1, rests_on="1,200 labels", evidence={"trials": [{"e_value": None}]}),
    ],
)
def test_a_policy_survives_json(policy):
    assert Policy.from_json(json.loads(json.dumps(policy.to_json(), allow_nan=False))) == policy


@pytest.mark.parametrize(
    ("prune", "review"), [(1.0, 2.0), (math.nan, 0.0), (0.0, math.nan), (0.0, -math.inf)]
)
def test_thresholds_out_of_order_are_refused(prune, review):
    with pytest.raises(ValueError, match="review <= prune"):
        Policy(prune=prune, review=review, rests_on="x")


@pytest.mark.parametrize(
    "promise", [(0.0, 0.9, 5), (1.1, 0.9, 5), (0.9, 0.0, 5), (0.9, 1.0, 5), (0.9, 0.9, 0)]
)
def test_an_empty_promise_is_refused(promise):
    with pytest.raises(ValueError, match="not a guarantee"):
        Guarantee(*promise)


def test_a_promise_says_how_many_of_a_cluster_count():
    assert str(Guarantee(0.95, 0.9, 5)) == (
        "precision of prune >= 0.95 with confidence 0.9, at most 5 of a cluster counting"
    )
