import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import CalibrationFailed
from actors.learn.isotonic import fit_isotonic


def drawn(seed, n=2000):
    rng = np.random.default_rng(seed)
    logit = rng.normal(scale=2, size=n)
    p = 0.05 + 0.6 / (1 + np.exp(-6 * (logit - 1)))  # no Platt map has this shape
    return logit, rng.random(n) < p, p


@given(st.integers(0, 10_000), st.integers(10, 200))
def test_distinct_logits_never_tie_whatever_the_sample(seed, n):
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=n).round(1)
    severe = rng.random(n) < 1 / (1 + np.exp(-2 * logit))
    try:
        found = fit_isotonic(logit, severe)
    except CalibrationFailed:
        return
    tried = np.linspace(-6, 6, 400)
    assert (np.diff(found.p_severe(tried)) > 0).all()
    np.testing.assert_allclose(found.p_severe(tried) + found.relevance(tried), 1)


def test_it_follows_a_bend_that_a_platt_map_cannot():
    from actors.calibration import fit_platt

    logit, severe, p = drawn(1)
    isotonic, platt = fit_isotonic(logit, severe), fit_platt(logit, severe)

    gap = np.abs(isotonic.p_severe(logit) - p).mean()
    assert gap < 0.04
    assert gap < np.abs(platt.p_severe(logit) - p).mean() / 1.5


def test_logits_that_fall_with_severity_are_refused():
    logit, severe, _ = drawn(2)
    with pytest.raises(CalibrationFailed):
        fit_isotonic(-logit, severe)


def test_a_single_kind_is_refused():
    with pytest.raises(CalibrationFailed, match="both kinds"):
        fit_isotonic([0.0, 1.0], [True, True])
