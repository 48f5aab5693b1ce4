"""A promise is proven by enough clusters, broken seldom, and never by one cluster alone."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.learn.guarantee import (
    Labelled,
    Promise,
    capped_precision,
    counts,
    grid,
    log_e_value,
    prove,
)

PROMISE = Promise(target=0.95, confidence=0.95)
NEEDED = math.log(20)


def clusters(pruned, severe):
    """Labelled clusters: in each so many pairs above logit 1, so many of them severe, and one pair below 0."""
    logit, label, cluster = [], [], []
    for number, (k, z) in enumerate(zip(pruned, severe, strict=True)):
        logit += [1.0 + at / 1000 for at in range(k)] + [-1.0]
        label += [True] * z + [False] * (k - z) + [False]
        cluster += [number] * (k + 1)
    return Labelled.of(logit, label, cluster)


def test_without_an_error_it_takes_as_many_clusters_as_the_start_says_and_not_fewer_than_any_test_needs():
    needed = next(n for n in range(1, 200) if log_e_value(np.full(n, 5), np.full(n, 5), PROMISE) >= NEEDED)
    assert 59 <= needed <= 88 < PROMISE.clusters_to_start


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
def test_the_first_trial_bears_an_error(target, confidence):
    """With half as many clusters again as the best bet needs, it failed without one at a confidence of 0.9."""
    promise = Promise(target, confidence)
    pruned = severe = np.full(promise.clusters_to_start, promise.cap)
    severe = severe - np.eye(1, len(severe), dtype=np.int64)[0]
    assert log_e_value(pruned, severe, promise) >= math.log(1 / (1 - confidence))


@pytest.mark.parametrize("target", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(("k", "cap"), [(1, 1), (1, 5), (2, 5), (3, 2)])
def test_where_the_precision_is_the_target_the_evidence_is_one_on_average(target, k, cap):
    """All ways that three clusters can turn out, each pair being severe with the target's probability."""
    promise, mean = Promise(target, 0.95, cap), 0.0
    for severe in itertools.product(range(k + 1), repeat=3):
        chance = math.prod(math.comb(k, z) * target**z * (1 - target) ** (k - z) for z in severe)
        mean += chance * math.exp(log_e_value(np.full(3, k), np.array(severe), promise))
    assert mean == pytest.approx(1.0)


@given(st.lists(st.integers(0, 30).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))), max_size=30))
def test_the_evidence_does_not_depend_on_the_order_of_clusters_nor_on_those_without_a_prune(found):
    pruned, severe = (
        (np.array(column, np.int64) for column in zip(*found, strict=True)) if found else ([], [])
    )
    pruned, severe = np.asarray(pruned, np.int64), np.asarray(severe, np.int64)
    evidence = log_e_value(pruned, severe, PROMISE)
    some = pruned > 0
    assert log_e_value(pruned[some][::-1], severe[some][::-1], PROMISE) == pytest.approx(evidence, abs=1e-9)


def test_one_cluster_however_large_decides_nothing():
    large_and_good = log_e_value(np.array([10_000]), np.array([10_000]), PROMISE)
    assert large_and_good == pytest.approx(log_e_value(np.array([5]), np.array([5]), PROMISE))
    assert 0 < large_and_good < NEEDED / 50
    pruned, severe = np.append(np.full(300, 5), 10_000), np.append(np.full(300, 5), 0)
    assert log_e_value(pruned, severe, PROMISE) > NEEDED
    assert capped_precision(pruned, severe, 5) == pytest.approx(300 / 301)


def test_the_loosest_threshold_before_the_first_failure_is_taken():
    good = clusters([5] * 100, [5] * 100)
    below = np.full(100, -0.5)  # one wrong pair in each, between 0 and -1
    labelled = Labelled(
        np.concatenate([good.logit, below]),
        np.concatenate([good.severe, np.zeros(100, np.bool_)]),
        np.concatenate([good.cluster, np.arange(100)]),
        100,
    )
    proof = prove(labelled, PROMISE, [-2.0, -0.7, 0.9, 0.5, 1.0])
    assert [trial.threshold for trial in proof.trials] == [1.0, 0.9, 0.5, -0.7]
    assert [trial.accepted for trial in proof.trials] == [True, True, True, False]
    assert proof.threshold == 0.5
    assert all(trial.n_clusters == 100 for trial in proof.trials)


def test_too_few_clusters_prove_nothing_and_the_threshold_prunes_nothing():
    proof = prove(clusters([5] * 50, [5] * 50), PROMISE, [1.0])
    assert proof.threshold == math.inf
    assert [trial.accepted for trial in proof.trials] == [False]


def test_counts_are_those_of_the_pairs_from_each_threshold_on():
    labelled = clusters([2, 0, 3], [1, 0, 3])
    found = [
        (threshold, list(k), list(z)) for threshold, k, z in counts(labelled, np.array([1.001, 1.0, -1.0]))
    ]
    assert found == [(1.001, [1, 0, 2], [0, 0, 2]), (1.0, [2, 0, 3], [1, 0, 3]), (-1.0, [3, 1, 4], [1, 0, 3])]


def test_the_grid_begins_where_the_labelled_clusters_can_be_expected_to_hold_enough():
    rng = np.random.default_rng(0)
    logit, cluster = rng.normal(size=20_000), np.repeat(np.arange(500), 40)
    thresholds = grid(logit, cluster, PROMISE, n_clusters=200)
    assert (np.diff(thresholds) < 0).all()
    assert len(thresholds) <= 100
    traffic = Labelled.of(logit, np.zeros(20_000), cluster)
    (_, pruned, _) = next(counts(traffic, thresholds[:1]))
    full = np.minimum(pruned, 5).mean() / 5 * 200
    assert PROMISE.clusters_to_start <= full < PROMISE.clusters_to_start * 1.1
    assert grid(logit, cluster, PROMISE, n_clusters=80).size == 0


@pytest.mark.parametrize("labelled", [5, 20])
@pytest.mark.parametrize("traffic", [1, 5, 20, 200])
def test_what_can_be_proven_does_not_hang_on_how_many_pairs_of_a_cluster_the_traffic_holds(labelled, traffic):
    """With ten times as many as were labelled, or a tenth, the first trial failed, and nothing was promised."""
    rng = np.random.default_rng(0)

    def drawn(n, size):
        logit = rng.normal(size=n * size) + np.repeat(0.7 * rng.normal(size=n), size)
        severe = rng.random(n * size) < 1 / (1 + np.exp(-6 * (logit - 0.2)))
        return Labelled(logit, severe, np.repeat(np.arange(n), size), n)

    seen = drawn(40_000 // traffic, traffic)
    thresholds = grid(seen.logit, seen.cluster, PROMISE, 500, pairs_per_cluster=labelled)
    proven = drawn(500, labelled)
    assert (proven.logit >= prove(proven, PROMISE, thresholds).threshold).mean() > 0.25


def test_a_promise_is_kept_where_whole_clusters_are_misread():
    """Precision 0.85 against a target of 0.9: with 1,200 pairs, but no more than 150 observations."""
    promise, broken = Promise(0.9, 0.95), 0
    for seed in range(200):
        right = np.random.default_rng(seed).random(150) < 0.85
        proof = prove(clusters([8] * 150, 8 * right), promise, [1.0])
        broken += math.isfinite(proof.threshold)
    assert broken <= 10


@pytest.mark.parametrize(
    "columns",
    [
        ([1.0], [True], [1, 2]),
        ([math.nan], [True], [1]),
        ([[1.0]], [[True]], [[1]]),
        ([1.0], [math.nan], [1]),
        ([1.0], [-1], [1]),
        ([1.0], ["no"], [1]),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns):
    with pytest.raises(ValueError, match=r"column|finite|label"):
        Labelled.of(*columns)


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        prove(clusters([5], [5]), PROMISE, [1.0, math.nan])


@pytest.mark.parametrize(
    ("target", "confidence", "cap"), [(0, 0.9, 5), (1, 0.9, 5), (0.9, 1, 5), (0.9, 0.9, 0)]
)
def test_what_is_no_promise_is_refused(target, confidence, cap):
    with pytest.raises(ValueError, match="must be above 0 and below 1, and cap"):
        Promise(target, confidence, cap)
