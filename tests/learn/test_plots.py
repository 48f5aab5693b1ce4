import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from actors.learn.bootstrap import Estimate
from actors.learn.curve import curve
from actors.learn.evaluate import Judged
from actors.learn.plots import (
    coverage_plot,
    probabilities_plot,
    reliability_plot,
    score_plot,
    shares_plot,
    sizes_plot,
)
from actors.learn.reliability import Bin, bins
from actors.policy import Guarantee, Policy

RNG = np.random.default_rng(1)
LOGIT = RNG.normal(size=500)
SEVERE = RNG.random(500) < 1 / (1 + np.exp(-3 * LOGIT))
POLICY = Policy(prune=1.5, review=0.5, rests_on="set by hand, for tests")
NOTHING = Policy(prune=np.inf, review=np.inf, rests_on="set by hand, for tests")
CLUSTER = np.repeat(np.arange(100), 5)
POINTS = curve(Judged(LOGIT, SEVERE, CLUSTER, CLUSTER), cap=5, prune=POLICY.prune)
SIZES = np.random.default_rng(2).integers(1, 90, 100)
PLOTS = {
    "reliability": lambda: reliability_plot(bins(1 / (1 + np.exp(-LOGIT)), SEVERE, CLUSTER)),
    "scores": lambda: score_plot(LOGIT, SEVERE, POLICY),
    "coverage": lambda: coverage_plot(POINTS, POLICY),
    "probabilities": lambda: probabilities_plot(1 / (1 + np.exp(-LOGIT)), SEVERE),
    "sizes": lambda: sizes_plot(SIZES),
}


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png))


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_plot_is_a_small_picture_with_something_on_it(plot):
    png = plot()

    assert len(png) < 60_000
    assert pixels(png).shape[:2] == (396, 550)
    assert len(np.unique(pixels(png).reshape(-1, 4), axis=0)) > 10


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_equal_arguments_give_equal_bytes(plot):
    assert plot() == plot()


def test_a_threshold_that_is_never_reached_is_not_drawn():
    assert score_plot(LOGIT, SEVERE, POLICY) != score_plot(LOGIT, SEVERE, NOTHING)
    assert coverage_plot(POINTS, POLICY) != coverage_plot(POINTS, NOTHING)


def test_a_promise_looks_other_than_what_was_asked_for_in_vain():
    promised = replace(POLICY, guarantee=Guarantee(0.9, 0.95, 5))
    asked = replace(POLICY, evidence={"target": 0.9})

    assert len({coverage_plot(POINTS, one) for one in (POLICY, promised, asked)}) == 3


def test_intervals_are_drawn_and_approximate_ones_otherwise():
    known = Estimate(0.3, 0.1, 0.5, 60)
    ways = (known, replace(known, n_clusters=20), replace(known, low=None, high=None))

    assert len({shares_plot({"one": one}, "share severe") for one in ways}) == 3
    assert len({reliability_plot([Bin(0.4, one, 9)]) for one in ways}) == 3


@pytest.mark.parametrize("severe", [np.zeros(1, bool), np.ones(1, bool)])
def test_a_single_pair_can_be_drawn(severe):
    one = np.array([0.3])

    assert pixels(score_plot(one, severe, NOTHING)).size
    judged = Judged(one, severe, np.zeros(1), np.zeros(1))
    assert pixels(coverage_plot(curve(judged, cap=5, prune=0.1), NOTHING)).size
    assert pixels(reliability_plot(bins(one, severe, np.zeros(1)))).size


def test_shares_are_drawn_under_each_other_whatever_their_names_are():
    """A name with two dollar signs would be read as a formula, and refused."""
    known = Estimate(0.3, 0.1, 0.5, 60)
    names = ["plain", "$x_{$", "a\\b", "n" * 500, "", "\N{CJK UNIFIED IDEOGRAPH-4E2D}"]
    few = shares_plot({"plain": known, "not known": Estimate(None, None, None, 3)}, "share severe")
    many = shares_plot(dict.fromkeys(names, known), "share severe")

    assert pixels(few).shape[1] == pixels(many).shape[1] == 550
    assert pixels(few).shape[0] < pixels(many).shape[0]


@pytest.mark.parametrize("sizes", [[1], [7, 7, 7], [1, 100_000]])
def test_any_sizes_can_be_drawn(sizes):
    assert pixels(sizes_plot(np.array(sizes))).size
