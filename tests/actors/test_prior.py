import json
import math

import pytest

from actors.errors import BundleProblem
from actors.lexical import NAMES, Lexicon
from actors.prior import PRIOR_FILE, Prior, read_prior, write_prior

WEIGHTS = tuple(0.1 * i for i in range(len(NAMES)))
PRIOR = Prior(Lexicon.of([{"title": "red kettle"}, {"title": "red lamp"}]), WEIGHTS, intercept=-1.0)
PAIR = "red kettle", {"title": "steel kettle"}


def test_a_prior_that_was_written_says_the_same(tmp_path):
    write_prior(tmp_path, PRIOR)

    assert read_prior(tmp_path).logit(*PAIR) == pytest.approx(PRIOR.logit(*PAIR), abs=1e-5)


def test_its_logit_is_the_weighted_sum_of_the_features():
    features = PRIOR.lexicon.features(*PAIR)

    assert PRIOR.logit(*PAIR) == pytest.approx(
        -1.0 + sum(w * f for w, f in zip(WEIGHTS, features, strict=True))
    )


def test_a_bundle_may_have_none(tmp_path):
    assert read_prior(tmp_path) is None


@pytest.mark.parametrize("weights", [WEIGHTS[1:], (math.nan, *WEIGHTS[1:])])
def test_needs_a_finite_weight_for_each_feature(weights):
    with pytest.raises(ValueError, match="finite weights"):
        Prior(PRIOR.lexicon, weights)


def test_one_of_other_features_is_refused(tmp_path):
    data = PRIOR.to_json()
    data["weights"]["phase_of_the_moon"] = 1.0
    (tmp_path / PRIOR_FILE).write_text(json.dumps(data))

    with pytest.raises(BundleProblem, match="phase_of_the_moon"):
        read_prior(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", '{"weights": 1}', "[" * 100_000])
def test_a_malformed_one_is_refused_in_one_line(tmp_path, text):
    (tmp_path / PRIOR_FILE).write_text(text)

    with pytest.raises(BundleProblem, match="malformed") as refusal:
        read_prior(tmp_path)
    assert "\n" not in str(refusal.value)
