import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.calibration import IsotonicMap, PlattMap, calibration_from_json, fit_platt
from actors.errors import CalibrationFailed


def test_fitting_recovers_the_map_that_drew_the_labels():
    draw = np.random.default_rng(3)
    logits = draw.normal(0, 3, 20_000)
    truth = PlattMap(slope=0.7, intercept=-1.2)
    fitted = fit_platt(logits, draw.random(len(logits)) < truth.p_severe(logits))
    assert fitted.slope == pytest.approx(0.7, abs=0.03)
    assert fitted.intercept == pytest.approx(-1.2, abs=0.06)


def test_the_fit_agrees_with_an_independent_solver():
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(4)
    logits = draw.normal(0, 2, 3_000)
    severe = draw.random(len(logits)) < PlattMap(1.3, 0.4).p_severe(logits)
    # Platt's soft targets, as weights of the two classes for each pair.
    high, low = (severe.sum() + 1) / (severe.sum() + 2), 1 / ((~severe).sum() + 2)
    target = np.where(severe, high, low)
    solver = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000)
    solver.fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(logits)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    fitted = fit_platt(logits, severe)
    assert fitted.slope == pytest.approx(solver.coef_[0, 0], rel=1e-4)
    assert fitted.intercept == pytest.approx(solver.intercept_[0], rel=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_separable_sample_yields_a_finite_map_of_the_smoothed_rates(scale):
    fitted = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]) * scale, [False, False, True, True])
    assert fitted.p_severe(2.0 * scale) == pytest.approx(0.75, abs=0.1)  # target (2 + 1) / (2 + 2)


@pytest.mark.parametrize(
    ("severe", "n_severe"), [([True, True, True], 3), ([False, False, False], 0), ([True, False, False], 1)]
)
def test_without_both_kinds_or_without_a_rise_there_is_no_map(severe, n_severe):
    with pytest.raises(CalibrationFailed) as caught:
        fit_platt([0.0, 1.0, 2.0], severe)
    assert (caught.value.n_severe, caught.value.n_other) == (n_severe, 3 - n_severe)


@pytest.mark.parametrize(("logits", "severe"), [([1.0, math.nan], [True, False]), ([1.0], [True, False])])
def test_unusable_samples_are_refused(logits, severe):
    with pytest.raises(ValueError, match="finite logits and labels of one length"):
        fit_platt(logits, severe)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.lists(st.floats(-1e4, 1e4), min_size=2))
def test_the_map_never_changes_the_order_and_relevance_is_its_complement(slope, intercept, logits):
    mapped = PlattMap(slope, intercept)
    severity = mapped.p_severe(np.sort(logits))
    assert (np.diff(severity) >= 0).all()
    assert mapped.relevance(np.sort(logits)) == pytest.approx(1 - severity, abs=1e-12)


def test_tails_stay_apart_where_one_minus_p_would_not():
    relevance = PlattMap().relevance([50.0, 60.0])
    assert relevance[0] > relevance[1] > 0


def test_a_logit_that_is_not_a_number_has_no_relevance():
    assert np.isnan(PlattMap().relevance([math.nan])).all()


def test_a_map_survives_json():
    mapped = PlattMap(slope=0.1 + 0.2, intercept=-1e-17)
    assert PlattMap.from_json(json.loads(json.dumps(mapped.to_json()))) == mapped


@pytest.mark.parametrize("slope", [0.0, -1.0, math.inf, math.nan])
def test_a_map_that_does_not_rise_is_refused(slope):
    with pytest.raises(ValueError, match="slope above zero"):
        PlattMap(slope=slope)


def test_another_kind_of_map_is_refused():
    with pytest.raises(ValueError, match="isotonic"):
        PlattMap.from_json({"kind": "isotonic"})


def test_either_map_comes_back_equal_through_json():
    for one in (PlattMap(2.0, -1.0), IsotonicMap((-1.0, 0.5, 2.0), (-3.0, 0.0, 0.1), 0.7)):
        assert calibration_from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(ValueError, match="unknown calibration map"):
        calibration_from_json({"kind": "spline"})


def test_an_isotonic_map_goes_through_its_knots_and_on_beyond_them():
    bent = IsotonicMap((0.0, 1.0), (-1.0, 2.0), tail_slope=0.5)
    line = np.array([-2.0, -1.0, 0.5, 2.0, 2.5])
    np.testing.assert_allclose(bent.p_severe([-2.0, 0.0, 0.5, 1.0, 2.0]), 1 / (1 + np.exp(-line)))
    assert np.isnan(bent.relevance(math.nan))


@pytest.mark.parametrize(
    ("logits", "log_odds", "slope"),
    [
        ((0.0,), (0.0,), 1.0),
        ((0.0, 0.0), (0.0, 1.0), 1.0),
        ((0.0, 1.0), (1.0, 1.0), 1.0),
        ((0.0, 1.0), (0.0, math.inf), 1.0),
        ((0.0, 1.0), (0.0, 1.0), 0.0),
    ],
)
def test_an_isotonic_map_that_does_not_rise_strictly_is_refused(logits, log_odds, slope):
    with pytest.raises(ValueError, match="isotonic map needs"):
        IsotonicMap(logits, log_odds, slope)


@pytest.mark.parametrize("logits", [["low", "high"], [None, 1.0], 3])
def test_an_isotonic_map_whose_knots_are_no_numbers_is_refused_when_it_is_read(logits):
    stored = IsotonicMap((0.0, 1.0), (-1.0, 2.0)).to_json()
    with pytest.raises((ValueError, TypeError)):
        calibration_from_json(stored | {"logits": logits})


def test_knots_that_were_stored_as_text_are_numbers_once_read():
    """They were kept as text, and the first score failed instead of the opening."""
    stored = IsotonicMap((0.0, 1.0), (-1.0, 2.0)).to_json()
    assert calibration_from_json(stored | {"logits": ["0", "1"]}).logits == (0.0, 1.0)
