import numpy as np
import pytest

from actors.learn.curve import N_POINTS, curve
from actors.learn.evaluate import Judged

RNG = np.random.default_rng(4)
CLUSTER = np.repeat(np.arange(60), 10)
LOGIT = RNG.normal(size=600)
JUDGED = Judged(LOGIT, RNG.random(600) < 1 / (1 + np.exp(-3 * LOGIT)), CLUSTER, CLUSTER)


def test_a_curve_goes_from_strict_to_loose_and_ends_with_all():
    points = curve(JUDGED, cap=5, prune=np.inf)
    shares = [one.share for one in points]

    assert len(points) <= N_POINTS
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    assert points[0].precision.value > points[-1].precision.value + 0.3
    assert all(one.precision.low <= one.precision.value <= one.precision.high for one in points[5:])


def test_a_bundle_s_own_threshold_is_a_point_where_it_prunes_any_pair():
    assert 0.777 in {one.threshold for one in curve(JUDGED, cap=5, prune=0.777)}
    assert 99.0 not in {one.threshold for one in curve(JUDGED, cap=5, prune=99.0)}


def test_precision_counts_as_the_promise_does():
    """One cluster of ninety wrong prunes beside ten clusters of one right prune."""
    cluster = np.array([0] * 90 + [*range(1, 11)])
    judged = Judged(np.ones(100), cluster > 0, cluster, cluster)

    assert curve(judged, cap=5, prune=np.inf)[-1].precision.value == pytest.approx(10 / 15)
    assert curve(judged, cap=90, prune=np.inf)[-1].precision.value == pytest.approx(10 / 100)


def test_a_single_pair_is_a_curve_of_one_point():
    (point,) = curve(Judged(np.zeros(1), np.ones(1, bool), np.zeros(1), np.zeros(1)), cap=5, prune=np.inf)

    assert (point.share, point.precision.value, point.precision.low) == (1, 1, None)
