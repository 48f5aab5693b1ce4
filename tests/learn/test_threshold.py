import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.learn.guarantee import Labelled, Promise
from actors.learn.threshold import Wish, clusters_needed, decide, review_below
from actors.policy import Policy

WISH = Wish(target=0.9, confidence=0.95, max_review_share=0.1)


def drawn(seed, n_clusters, *, signal=3.5, per_cluster=40):
    """Labelled clusters whose severity follows from the logit, with an effect of the cluster."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), per_cluster)
    logit = rng.normal(size=len(cluster))
    effect = rng.normal(size=n_clusters)[cluster]
    p = 1 / (1 + np.exp(-(signal * (logit - 0.4) + effect)))
    return Labelled.of(logit, rng.random(len(cluster)) < p, cluster)


def test_a_clear_signal_gets_a_promise_and_review_stays_within_its_budget():
    labelled, traffic = drawn(1, 400, per_cluster=20), drawn(2, 400, per_cluster=20)
    decision = decide(labelled, traffic.logit, traffic.cluster, WISH)
    policy = decision.to_policy()

    assert decision.promised
    assert (policy.guarantee.target, policy.guarantee.confidence, policy.guarantee.cap) == (0.9, 0.95, 5)
    assert policy.evidence == decision.to_json()
    assert Policy.from_json(json.loads(json.dumps(policy.to_json(), allow_nan=False))) == policy
    assert decision.traffic["prune"] > 0.05
    assert 0.09 < decision.traffic["review"] <= 0.1
    assert policy.review < policy.prune
    for words in (
        "precision 0.9",
        "confidence 0.95",
        "400 labelled clusters",
        "at most 5 prunes",
        "hold prunes",
    ):
        assert words in policy.rests_on
    assert decision.expected["precision_capped"].value >= 0.9
    assert decision.said.startswith("promised")
    planned = replace(decision, wish=replace(WISH, n_tries=3))
    for text in (planned.said, planned.rests_on):
        assert "holds only if this was one of the 3 planned tries on these labels" in text
    kept = replace(planned, recorded=True)
    assert "no record" not in kept.said + kept.rests_on


def test_without_a_signal_nothing_is_pruned_and_it_says_what_it_would_take():
    labelled, traffic = drawn(1, 100, signal=0.0), drawn(2, 100, signal=0.0)
    decision = decide(labelled, traffic.logit, traffic.cluster, WISH)
    policy = decision.to_policy()

    assert policy.guarantee is None
    assert not policy.evidence["promised"]
    assert not (policy.decide(traffic.logit.astype(np.float32)) == 2).any()
    assert decision.traffic["prune"] == 0
    assert 0 < decision.traffic["review"] <= 0.1
    assert decision.expected["severe_prune"].value == 0
    assert decision.expected["severe_review"].value < 0.5
    assert decision.said.startswith("NOTHING IS PRUNED")
    assert str(decision.needed.without_error) in decision.said
    assert "hold prunes at the strictest threshold tried" in decision.said
    assert [trial["accepted"] for trial in decision.to_json()["trials"]] == [False]
    assert decision.to_json()["prune"] is None


def test_too_few_clusters_try_nothing_and_say_so():
    labelled, traffic = drawn(1, 10), drawn(2, 100)
    decision = decide(labelled, traffic.logit, traffic.cluster, WISH)

    assert not decision.promised
    assert decision.proof.trials == ()
    assert "10 labelled clusters, too few to try any threshold" in decision.said


def test_a_promise_of_095_takes_59_to_88_clusters_without_an_error_and_about_200_with_few():
    needed = clusters_needed(Promise(target=0.95, confidence=0.95))

    assert 59 <= needed.without_error <= 88
    assert 150 <= needed.if_precise <= 250


def test_more_tries_on_the_same_labels_ask_for_more():
    once, often = WISH, Wish(0.9, 0.95, 0.1, n_tries=5)

    assert often.promise.confidence == pytest.approx(0.99)
    assert clusters_needed(often.promise).without_error > clusters_needed(once.promise).without_error


def test_a_target_above_the_assumed_precision_cannot_be_met_by_it():
    assert clusters_needed(Promise(target=0.995, confidence=0.95)).if_precise is None


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=50),
    st.sampled_from([-2.0, 0.0, 3.0, np.inf]),
    st.floats(0, 1),
)
def test_review_is_the_most_that_fits_the_budget(logits, prune, max_share):
    logit = np.array(logits, np.float64)
    review = review_below(logit, prune=prune, max_share=max_share)
    reviewed = (logit >= review) & (logit < prune)
    rest = logit[(logit < review) & (logit < prune)]

    assert review <= prune
    assert reviewed.sum() <= max_share * len(logit) + 1e-6
    if len(rest):  # the next value would break it
        assert reviewed.sum() + (rest == rest.max()).sum() > max_share * len(logit)


def test_thresholds_of_an_earlier_look_are_tried_again():
    labelled, traffic = drawn(1, 400, per_cluster=20), drawn(2, 400, per_cluster=20)
    decision = decide(labelled, traffic.logit, traffic.cluster, WISH, thresholds=[1.0, 1.2])

    assert [trial.threshold for trial in decision.proof.trials] == [1.2, 1.0]


def test_no_traffic_is_refused():
    with pytest.raises(ValueError, match="window of traffic"):
        decide(drawn(1, 10), [], [], WISH)


@pytest.mark.parametrize("wish", [(1.0, 0.95, 0.1), (0.9, 1.0, 0.1), (0.9, 0.9, 1.1)])
def test_a_wish_that_cannot_be_is_refused(wish):
    with pytest.raises(ValueError, match=r"must be above 0 and below 1|not a wish"):
        Wish(*wish)


def test_on_real_shopping_pairs_nothing_can_be_promised_at_095(out_of_fold):
    logit, severe, query = out_of_fold
    labelled = Labelled.of(logit, severe, query)
    decision = decide(labelled, logit, query, Wish(target=0.95, confidence=0.95, max_review_share=0.05))

    assert labelled.n_clusters == 110
    assert not decision.promised
    assert decision.traffic["prune"] == 0
    assert 0.04 < decision.traffic["review"] <= 0.05
    assert decision.needed.without_error >= 59
    # The score is no noise: what goes to people holds more than its share of the severe pairs.
    assert decision.expected["severe_review"].value > 1.3 * decision.expected["share_review"].value
