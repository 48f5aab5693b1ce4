import json

import numpy as np
import pytest

from actors.learn.reliability import judge


def drawn(seed, n_clusters=150):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1.5, size=n_clusters * 10)
    p = 1 / (1 + np.exp(-log_odds))
    return log_odds, rng.random(len(p)) < p, np.repeat(np.arange(n_clusters), 10)


def stated(log_odds):
    return 1 / (1 + np.exp(-log_odds))


def test_probabilities_that_come_true_have_slope_one_and_intercept_zero():
    log_odds, severe, cluster = drawn(1)
    found = judge(stated(log_odds), severe, cluster)

    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    assert found.ece < 0.05
    assert not found.slope.approximate


def test_probabilities_that_are_too_extreme_have_a_slope_below_one():
    log_odds, severe, cluster = drawn(2)
    found = judge(stated(2 * log_odds), severe, cluster)

    assert found.slope.high < 0.7
    assert found.brier.value > judge(stated(log_odds), severe, cluster).brier.value


def test_severe_pairs_beyond_what_was_stated_show_in_the_intercept():
    log_odds, severe, cluster = drawn(3)

    assert judge(stated(log_odds - 1), severe, cluster).intercept.low > 0.5


def test_slope_and_intercept_are_those_of_a_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    log_odds, severe, cluster = drawn(4)
    found = judge(stated(log_odds), severe, cluster)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(log_odds[:, None], severe)

    assert found.slope.value == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    assert found.intercept.value == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_bins_hold_every_pair_once_and_few_pairs_have_few_bins():
    log_odds, severe, cluster = drawn(5)

    assert sum(one.n for one in judge(stated(log_odds), severe, cluster).bins) == len(severe)
    assert len(judge([0.2, 0.4, 0.9], [False, True, True], [0, 1, 2]).bins) == 3


def test_what_comes_true_lies_in_the_interval_of_most_bins():
    log_odds, severe, cluster = drawn(6)
    bins = judge(stated(log_odds), severe, cluster).bins

    assert sum(one.found.low <= one.stated <= one.found.high for one in bins) >= 8
    assert all(one.found.high - one.found.low < 0.2 for one in bins)
    assert {"stated", "found", "low", "high", "n"} == bins[0].to_json().keys()


@pytest.mark.parametrize("p", [[0.3, 0.3, 0.3, 0.3], [0.0, 0.1, 0.9, 1.0]])
def test_what_no_regression_can_tell_is_undefined_not_nan(p):
    found = judge(p, [False, False, True, True], [0, 1, 2, 3])

    assert found.slope.value is None
    assert "NaN" not in json.dumps(found.to_json())


@pytest.mark.parametrize("p", [[], [1.5], [float("nan")]])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="probabilities"):
        judge(p, [True] * len(p), [0] * len(p))
