from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from actors.calibration import PlattMap
from actors.learn.card import base_model_of, card
from actors.learn.evaluate import Judged, evaluate
from actors.manifest import Manifest, ReferenceScores, RoleCount
from actors.pairs import PairTemplate
from actors.policy import Guarantee, Policy
from actors.rubric import Rubric

RNG = np.random.default_rng(3)
QUERY = np.repeat(np.arange(40), 5)
TRUTH = RNG.normal(-1, 2, size=200)
JUDGED = Judged(
    TRUTH, RNG.random(200) < 1 / (1 + np.exp(-TRUTH)), QUERY, QUERY, np.where(QUERY < 20, "toys | games", "")
)
PROMISED = Policy(prune=2.0, review=0.5, rests_on="a test", guarantee=Guarantee(0.9, 0.95, 5))
MEASURED = evaluate(JUDGED, PROMISED, PlattMap(), cap=5)
MANIFEST = Manifest(
    name="shop | gate: 1",
    template=PairTemplate(),
    max_tokens=72,
    calibration=PlattMap(),
    policy=PROMISED,
    reference=ReferenceScores.of(TRUTH),
    rubric=Rubric({"E": 1.0, "C": 0.1, "I": 0.0}, frozenset({"I"})),
    roles={"train": RoleCount(1000, 100, 20), "test": RoleCount(200, 61, 40)},
    origin="people of the shop",
    data={"labels.parquet": "sha256:abc"},
    code="sha256:def",
    metrics=MEASURED.to_json(),
    parent="sha256:012",
)


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hub_can_read_what_it_begins_with():
    from huggingface_hub import ModelCard

    read = ModelCard(card(MANIFEST, base_model="someone/minilm"))

    assert (read.data.library_name, read.data.pipeline_tag) == ("transformers", "text-classification")
    assert read.data.base_model == "someone/minilm"
    auc = next(one for one in read.data.eval_results if one.metric_type == "roc_auc")
    assert auc.metric_value == pytest.approx(MEASURED.figures["auc"].value, abs=1e-4)
    assert read.data.model_name == MANIFEST.name


def test_every_measured_figure_is_in_it():
    text = card(MANIFEST)

    for estimate in (*MEASURED.figures.values(), MEASURED.reliability.brier, MEASURED.reliability.slope):
        assert str(estimate) in text
    for words in (
        "200 pairs, 66 of them severe, in 40 clusters".replace("66", str(MEASURED.n_severe)),
        "approximate (~), as there are fewer than 50",
        "| train | 1,000 | 100 | 20 |",
        "`sha256:abc`",
        "`sha256:def`",
        "`sha256:012`",
        "**I** (severe)",
        "sluice bundle verify",
    ):
        assert words in text


def test_a_promise_is_the_target_and_no_estimate():
    text = card(MANIFEST)

    assert "at least 0.9, with a confidence of 0.95" in text
    assert "NOTHING" not in text


def test_no_promise_is_said_in_large_letters_with_what_it_would_take():
    evidence = {
        "target": 0.95,
        "confidence": 0.95,
        "n_clusters": 22,
        "clusters_needed": {"without_error": 74},
        "traffic_shares": {"prune": 0.0, "review": 0.05, "pass": 0.95},
    }
    nothing = Policy(prune=math.inf, review=1.0, rests_on="a test", evidence=evidence)
    text = card(replace(MANIFEST, policy=nothing))

    assert "\n# NOTHING IS PROMISED, AND NOTHING IS PRUNED\n" in text
    assert "at least 74 labelled clusters" in text
    assert "| review | 1.0000 | 5.00% (estimate) |" in text
    by_hand = card(replace(MANIFEST, policy=replace(PROMISED, guarantee=None)))
    assert "\n# NOTHING IS PROMISED\n" in by_hand


def test_what_nobody_measured_is_not_in_it():
    text = card(replace(MANIFEST, metrics={}, roles={}, data={}, code="", parent=None))

    assert "Nobody measured this bundle" in text
    assert "model-index" not in text
    for title in ("## Calibration", "## By segment", "## Plots", "Parent", "base_model"):
        assert title not in text


def test_figures_of_other_thresholds_are_said_to_be_left_out():
    found = MEASURED.to_json()
    ranks = {name: found["figures"][name] for name in ("auc", "auc_within_query", "average_precision")}
    text = card(replace(MANIFEST, metrics=found | {"figures": ranks, "by_segment": {}}))

    assert "before these thresholds were set" in text
    assert "pairs pruned |" not in text


def test_plots_are_linked_where_there_are_some():
    text = card(MANIFEST, drawn_on="the pairs of the role test")

    assert re.findall(r"\]\((.*)\)", text) == ["reliability.png", "scores.png", "coverage.png"]
    assert "Drawn on the pairs of the role test." in text


def test_a_name_cannot_break_a_table():
    rows = [line for line in card(MANIFEST).splitlines() if "toys" in line]

    assert len(rows) == 1
    assert re.sub(r"\\\|", "", rows[0]).count("|") == 11


def test_a_child_finds_the_base_model_in_its_parents_card(tmp_path):
    assert base_model_of(tmp_path) is None
    for text, found in ((card(MANIFEST, base_model="a/b"), "a/b"), (card(MANIFEST), None), ("---\n[", None)):
        (tmp_path / "README.md").write_text(text)
        assert base_model_of(tmp_path) == found
