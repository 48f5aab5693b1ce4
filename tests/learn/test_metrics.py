import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from actors.learn import metrics
from actors.learn.bootstrap import interval
from actors.learn.guarantee import capped_precision

samples = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def drawn(rng, n=60):
    """Logits with ties, labels of both kinds, and weights some of which are zero."""
    severe = rng.random(n) < 0.4
    severe[:2] = True, False
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] = 1
    return rng.integers(-5, 6, n) + severe, severe, weight


@given(samples)
def test_auc_and_average_precision_are_those_of_scikit_learn(rng):
    logit, severe, weight = drawn(rng)

    assert metrics.auc(logit, severe)(weight) == pytest.approx(
        roc_auc_score(severe, logit, sample_weight=weight)
    )
    assert metrics.average_precision(logit, severe)(weight) == pytest.approx(
        average_precision_score(severe, logit, sample_weight=weight)
    )


@given(samples)
def test_auc_within_is_the_mean_over_queries_with_both_kinds(rng):
    logit, severe, _ = drawn(rng)
    query = rng.integers(0, 8, len(logit))
    both = [q for q in np.unique(query) if 0 < severe[query == q].sum() < (query == q).sum()]
    expected = np.mean([roc_auc_score(severe[query == q], logit[query == q]) for q in both]) if both else None

    found = metrics.auc_within(logit, severe, query)(np.ones(len(logit)))

    assert found == pytest.approx(expected) if both else np.isnan(found)


@given(samples)
def test_capped_precision_is_what_the_guarantee_is_about(rng):
    _, severe, _ = drawn(rng)
    cluster, pruned = rng.integers(0, 6, len(severe)), rng.random(len(severe)) < 0.5
    found = metrics.precision_capped(pruned, severe, cluster, cap=5)(np.ones(len(severe)))
    expected = capped_precision(np.bincount(cluster, pruned), np.bincount(cluster, pruned & severe), 5)

    assert found == pytest.approx(expected, nan_ok=True)


def test_a_single_kind_and_nothing_pruned_are_undefined_not_perfect():
    logit, cluster = np.arange(4.0), np.arange(4)
    none, every = np.zeros(4, bool), np.ones(4, bool)

    for severe in (none, every):
        assert np.isnan(metrics.auc(logit, severe)(np.ones(4)))
        assert np.isnan(metrics.auc_within(logit, severe, cluster)(np.ones(4)))
    assert np.isnan(metrics.average_precision(logit, none)(np.ones(4)))
    assert np.isnan(metrics.precision(none, every)(np.ones(4)))
    assert np.isnan(metrics.precision_capped(none, every, cluster, cap=5)(np.ones(4)))
    assert np.isnan(metrics.auc(np.zeros(0), np.zeros(0, bool))(np.ones(0)))


def test_a_policy_that_prunes_nothing_does_not_look_perfect():
    severe = np.array([True, True, False, False])
    acted = metrics.Acted(np.array([1, 0, 0, 0], np.int8), severe, np.arange(4), cap=5)
    found = {name: statistic(np.ones(4)) for name, statistic in acted.statistics.items()}

    assert (found["severe_prune"], found["severe_review"], found["severe_pass"]) == (0, 0.5, 0.5)
    assert (found["share_prune"], found["share_review"], found["share_pass"]) == (0, 0.25, 0.75)
    assert np.isnan(found["precision_pairs"])


def test_a_logit_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        metrics.auc([np.nan, 1.0], [True, False])


def test_metrics_take_the_bootstraps_draws():
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(60), 10)
    severe = rng.random(600) < 0.3
    found = interval(metrics.auc(rng.normal(size=600) + severe, severe), cluster, n_draws=200)

    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.76, abs=0.05)
