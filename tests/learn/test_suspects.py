import json

import numpy as np
import pytest

from actors.learn.roles import Role
from actors.learn.suspects import suspect, suspects
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample

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


def test_a_label_against_all_words_is_suspected():
    of = pairs(per_cluster=12)
    rows = by_people(of)
    wrong = [7, 100, 333]
    for i in wrong:
        rows[i] = label(i, "good" if rows[i].level == "bad" else "bad")
    found = suspect(sample(labels(of, *rows)), None)

    assert found.auc.value > 0.95
    assert {one.pair for one in found.found.shown} >= set(wrong)
    assert len(found.p_severe) == len(of)
    assert "NaN" not in json.dumps(found.to_json())


def test_probabilities_of_the_data_are_asked_where_it_has_them():
    of = pairs()
    p = np.where([row.level == "bad" for row in by_people(of)], 0.9, 0.1)
    p[:60] = np.nan
    p[200] = 1 - p[200]
    found = suspect(sample(labels(of, *by_people(of))), p)

    assert "probabilities in the data" in found.basis
    assert [one.pair for one in found.found.shown] == [200]
    assert len(found.p_severe) == 300


def test_where_nothing_can_be_compared_it_says_why():
    of = pairs()
    shares = {role: float(role is Role.TRAIN) for role in Role}
    one_kind = sample(labels(of, *(label(i, "good") for i in range(len(of)))))
    judge_only = sample(labels(of, *by_judge(of)), shares=shares)
    one_cluster = sample(labels(of[:6], *by_people(of[:6])), shares=shares)

    for found in (one_kind, judge_only, one_cluster):
        said = suspect(found, None)
        assert "nothing to compare" in said.basis
        assert said.auc is None
        assert said.found.n == 0
