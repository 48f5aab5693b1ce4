import numpy as np
import pytest

from actors.learn.suspects import suspects

RNG = np.random.default_rng(4)


def test_labels_that_were_turned_round_are_the_likeliest_to_be_wrong():
    truth = RNG.random(600) < 0.3
    p = np.where(truth, 0.95, 0.05) + RNG.uniform(-0.04, 0.04, 600)
    turned = RNG.choice(600, 15, replace=False)
    said = truth.copy()
    said[turned] = ~said[turned]
    found = suspects(said, p)

    assert {one.row for one in found} <= set(turned.tolist())
    assert len(found) > 10
    assert [one.quality for one in found] == sorted(one.quality for one in found)
    assert all(one.severe != (one.p_severe > 0.5) for one in found)


def test_a_model_that_agrees_suspects_nobody():
    truth = np.arange(100) % 2 == 0

    assert suspects(truth, np.where(truth, 0.9, 0.1)) == ()


@pytest.mark.parametrize(
    ("severe", "p"),
    [([True, True], [0.1, 0.2]), ([], []), ([True, False], [0.5, np.nan]), ([True, False], [0.1, 1.5])],
)
def test_what_it_cannot_judge_is_refused(severe, p):
    with pytest.raises(ValueError, match="both kinds"):
        suspects(severe, p)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_a_model_that_says_the_same_of_all_is_endured(p):
    suspects([True, False, False], [p] * 3)


def test_on_real_pairs_few_labels_are_doubted(out_of_fold):
    logit, severe, _ = out_of_fold
    found = suspects(severe, 1 / (1 + np.exp(-logit)))

    assert 0 < len(found) < 0.2 * len(severe)
