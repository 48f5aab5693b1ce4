from __future__ import annotations

import math
import re
from dataclasses import replace

from actors.learn.card import card
from actors.policy import Policy
from actors.prior import PRIOR_FILE
from tests.learn.measured import MANIFEST, MEASURED, PROMISED


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
        "clusters_needed": {"without_error": 74, "at_precision_0.99": 212},
        "trials": [{"threshold": 3.0, "n_clusters": 9, "e_value": 0.2, "accepted": False}],
        "traffic_shares": {"prune": 0.0, "review": 0.05, "pass": 0.95},
    }
    nothing = Policy(prune=math.inf, review=1.0, rests_on="a test", evidence=evidence)
    text = card(replace(MANIFEST, policy=nothing))

    assert "\n# NOTHING IS PROMISED, AND NOTHING IS PRUNED\n" in text
    assert "at least 74 labelled clusters" in text
    assert "or 212 if the precision is truly 0.99; there were 22 labelled clusters, 9 with prunes" in text
    assert "| prune | never |  | 0.00% (estimate) |" in text
    assert "| review | 1.0000 | 0.269 | 5.00% (estimate) |" in text
    by_hand = card(replace(MANIFEST, policy=replace(PROMISED, guarantee=None)))
    assert "\n# NOTHING IS PROMISED\n" in by_hand


def test_what_becomes_of_the_severe_is_said_beside_the_promise():
    text = card(MANIFEST)
    beginning = text[: text.index("## What the score means")]

    assert f"**{MEASURED.figures['severe_pass']} passes unseen**" in beginning
    assert f"a share of {MEASURED.figures['severe_prune']} is pruned" in beginning
    assert "passes unseen" not in card(replace(MANIFEST, metrics={}))


def test_what_strangers_named_is_no_mark_up():
    """Segments come from the labels: one that was a picture was fetched by whoever read the card."""
    evil = "![x](http://example.org/y.png) <b>`"
    parts = {evil: MEASURED.to_json()["by_segment"]["toys | games"]}
    found = replace(
        MANIFEST, name=evil, data={evil: "sha256:abc"}, metrics=MEASURED.to_json() | {"by_segment": parts}
    )
    text = card(found)

    assert text.count("!\\[x\\](http://example.org/y.png) \\<b\\>\\`") == 3
    assert "\n# !\\[x" in text
    assert "| ![x]" not in text


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


def test_a_prior_is_told_of_where_one_is_served():
    text = card(replace(MANIFEST, files={PRIOR_FILE: "sha256:abc"}))

    assert "what the words of the whole pair say" in text
    assert "(`prior.json`, a sum over 16 features)" in text
    assert "nothing is added to it" in card(MANIFEST)


def test_a_name_cannot_break_a_table():
    rows = [line for line in card(MANIFEST).splitlines() if "toys" in line]

    assert len(rows) == 1
    assert re.sub(r"\\\|", "", rows[0]).count("|") == 11
