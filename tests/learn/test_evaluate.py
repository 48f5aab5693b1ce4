import json
from dataclasses import replace

import numpy as np
import pytest

from actors.calibration import PlattMap
from actors.learn.evaluate import Acting, Judged, compare, evaluate
from actors.policy import Policy

POLICY = Policy(prune=2.0, review=0.5, rests_on="set by hand, for tests")
NOTHING = Policy(prune=np.inf, review=np.inf, rests_on="set by hand, for tests")


def drawn(seed=0, n_clusters=60, noise=0.0):
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(2 * n_clusters), 5)
    truth = rng.normal(-1, 2, size=len(query))
    severe = rng.random(len(query)) < 1 / (1 + np.exp(-truth))
    logit = truth + noise * rng.normal(size=len(query))
    return Judged(logit, severe, query, query // 2, np.where(query % 4 < 2, "toys", "tools"))


def test_every_figure_lies_in_its_interval():
    found = evaluate(drawn(), POLICY, PlattMap(), cap=5)

    assert found.n_clusters == 60
    assert {"auc", "auc_within_query", "average_precision", "precision_capped"} < set(found.figures)
    for estimate in found.figures.values():
        assert estimate.low <= estimate.value <= estimate.high
    assert found.reliability.slope.low < 1 < found.reliability.slope.high


def test_segments_are_told_apart():
    judged = drawn()
    only = judged.where(judged.segment == "toys")
    found = evaluate(judged, POLICY, PlattMap(), cap=5)

    assert set(found.by_segment) == {"toys", "tools"}
    assert found.by_segment["toys"] == evaluate(replace(only, segment=None), POLICY, PlattMap(), cap=5)
    assert found.to_json()["by_segment"]["toys"]["calibration"]["brier"]["approximate"] is True
    assert (found.approximate, found.by_segment["toys"].approximate) == (False, True)


def test_small_segments_and_all_but_the_largest_are_pooled():
    judged = drawn(n_clusters=200)
    names = np.array(
        [f"s{number % 25:02}" if number < 190 else f"tiny {number}" for number in judged.cluster]
    )
    parts = replace(judged, segment=names.astype(object)).by_segment()

    assert list(parts)[-1] == "(all others)"
    assert len(parts) == 21
    assert sum(len(part.logit) for part in parts.values()) == len(judged.logit)
    assert {f"tiny {number}" for number in range(190, 200)} < set(parts["(all others)"].segment)


def test_a_policy_that_prunes_nothing_has_no_precision_and_passes_all_that_is_severe():
    found = evaluate(drawn(), NOTHING, PlattMap(), cap=5)

    assert found.figures["precision_capped"].value is None
    assert found.figures["severe_pass"].value == 1
    assert "NaN" not in json.dumps(found.to_json())


def test_a_worse_model_is_found_out_and_an_equal_one_is_not_better():
    judged, noisy = drawn(), drawn(noise=3.0)

    assert compare(judged, noisy.logit)["auc"].low > 0
    assert compare(judged, judged.logit)["auc"].value == 0
    assert compare(replace(judged, logit=noisy.logit), judged.logit)["auc"].high < 0


def test_two_bundles_differ_in_what_they_do_as_well():
    judged = drawn()
    bold, timid = Acting(POLICY, PlattMap()), Acting(NOTHING, PlattMap(slope=3.0))
    found = compare(judged, judged.logit, (bold, timid))

    assert (found["auc"].value, found["auc"].p) == (0, 1)
    assert found["brier"].high < 0
    assert found["severe_prune"].low > 0
    assert found["severe_pass"].high < 0
    assert found["severe_prune"].p < 0.01
    sums = found["severe_prune"].value + found["severe_review"].value + found["severe_pass"].value
    assert sums == pytest.approx(0)


def test_a_single_kind_of_pair_leaves_ranks_undefined_and_the_rest_measured():
    judged = drawn()
    found = evaluate(judged.where(~judged.severe), POLICY, PlattMap(), cap=5)

    assert found.figures["auc"].value is None
    assert found.reliability.slope.value is None
    assert found.figures["share_prune"].value > 0
    assert "NaN" not in json.dumps(found.to_json())


def test_columns_of_other_lengths_and_logits_that_are_none_are_refused():
    judged = drawn()

    for changes in ({"severe": judged.severe[1:]}, {"logit": judged.logit * np.nan}):
        with pytest.raises(ValueError, match="one length"):
            replace(judged, **changes)
