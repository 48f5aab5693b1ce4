import math

import numpy as np
import pytest

from actors.learn.bootstrap import difference, differences, interval
from actors.learn.metrics import share

RNG = np.random.default_rng(5)


def mean_of(values):
    return lambda weight: float(weight @ values / weight.sum()) if weight.sum() else math.nan


def test_equal_arguments_give_equal_intervals():
    values, cluster = RNG.normal(size=300), np.repeat(np.arange(60), 5)

    assert interval(mean_of(values), cluster) == interval(mean_of(values), cluster)
    assert interval(mean_of(values), cluster) != interval(mean_of(values), cluster, seed=1)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for trial in range(120):
        rng = np.random.default_rng(trial)
        cluster = np.repeat(np.arange(100), 4)
        values = rng.normal(size=100)[cluster] + rng.normal(size=400)
        found = interval(mean_of(values), cluster, n_draws=200)
        held += found.low <= 0 <= found.high

    assert 0.88 <= held / 120 <= 0.99


def test_pairs_that_repeat_their_cluster_add_no_certainty():
    effect = RNG.normal(size=100)
    alone = interval(mean_of(effect), np.arange(100))
    repeated = interval(mean_of(np.repeat(effect, 20)), np.repeat(np.arange(100), 20))

    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.01)


def test_a_paired_difference_is_surer_than_the_two_apart():
    cluster = np.repeat(np.arange(80), 3)
    shared = RNG.normal(size=80)[cluster]
    one, other = shared + 0.1, shared + 0.01 * RNG.normal(size=240)
    gain = interval(difference(mean_of(one), mean_of(other)), cluster)

    alone = interval(mean_of(one), cluster)
    assert gain.low > 0.05
    assert gain.high - gain.low < (alone.high - alone.low) / 10


def test_a_p_value_is_even_where_nothing_differs_and_small_where_something_does():
    """Of 60 samples without a difference about 3 should say p < 0.05."""
    cluster = np.repeat(np.arange(60), 2)
    seen = []
    for trial in range(60):
        noise = np.random.default_rng(trial).normal(size=(2, 120))
        seen.append(differences({"mean": mean_of(noise[0])}, {"mean": mean_of(noise[1])}, cluster)["mean"].p)
    better = differences({"mean": mean_of(noise[0] + 1)}, {"mean": mean_of(noise[1])}, cluster)["mean"]
    equal = differences({"mean": mean_of(noise[0])}, {"mean": mean_of(noise[0])}, cluster)["mean"]

    assert sum(p < 0.05 for p in seen) <= 9
    assert 0.3 < np.mean(seen) < 0.7
    assert better.p < 0.01 < better.low
    assert (equal.value, equal.p) == (0, 1)
    assert better.to_json()["p"] == better.p


def test_a_difference_without_an_interval_has_no_p_value():
    lonely = np.array([1.0, 0, 0, 0])
    of = {"x": lambda w: 1.0 if w @ lonely else math.nan}

    assert differences(of, of, np.arange(4))["x"].p is None


def test_few_clusters_are_called_approximate():
    few, many = np.arange(49), np.arange(50)

    assert interval(mean_of(few.astype(float)), few).approximate
    assert not interval(mean_of(many.astype(float)), many).approximate


def test_a_statistic_that_most_draws_leave_undefined_has_no_interval():
    lonely = np.array([1.0, 0, 0, 0])
    found = interval(lambda w: 1.0 if w @ lonely else math.nan, np.arange(4))

    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert "nan" not in str(found.to_json())


def test_one_cluster_has_a_value_and_no_interval():
    found = interval(mean_of(np.ones(5)), np.zeros(5))

    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_no_rows_have_no_interval():
    with pytest.raises(ValueError, match="at least one row"):
        interval(mean_of(np.zeros(0)), np.zeros(0))


def test_an_interval_in_which_all_draws_are_alike_is_not_shown():
    """Ten right prunes of ten were shown as a precision of 1.000 [1.000, 1.000], as if that were certain."""
    cluster = np.arange(60)
    found = interval(share(np.ones(60, bool)), cluster)

    assert (found.low, found.high) == (1, 1)
    assert str(found) == "1.000"
    assert "[" in str(interval(share(cluster > 30), cluster))
