from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from actors.bundle import PLOT_FILES, Bundle, write_bundle
from actors.calibration import IsotonicMap, PlattMap
from actors.errors import BundleProblem, CalibrationFailed, DataRefused, TriesSpent
from actors.learn import finish as module
from actors.learn.eligible import to_prove
from actors.learn.finish import Order, finish, renew
from actors.learn.labels import Label, Labels, Pair, Sampling, Source
from actors.learn.roles import Role, Roles, digest, read_roles
from actors.learn.sample import Sample
from actors.learn.threshold import Wish
from actors.learn.window import Traffic
from actors.manifest import ReferenceScores, RoleCount
from actors.pairs import PairTemplate
from actors.policy import Policy
from actors.probes import N_PROBES, read_probes
from actors.rubric import SEVERE_OR_NOT
from tests.learn.labelled import labels, only, said, together, told, words
from tests.model_folders import model_stand_in, plain_manifest

WISH = Wish(target=0.8, max_review_share=0.1)
MANIFEST = plain_manifest(
    policy=Policy(np.inf, np.inf, "nothing: a draft"),
    origin="people",
    data={"labels.parquet": "sha256:a"},
)
QUERIES = words(400)
NEW = words(120, seed=1)

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(autouse=True)
def texts_that_tell(monkeypatch):
    monkeypatch.setattr(module.apply, "logits", said)
    monkeypatch.setattr(module.apply, "probes", told)


@pytest.fixture
def draft(tmp_path) -> Bundle:
    (tmp_path / "model").mkdir()
    return write_bundle(
        tmp_path / "draft", model_folder=model_stand_in(tmp_path / "model"), manifest=MANIFEST
    )


@pytest.fixture
def order(tmp_path) -> Order:
    return Order(tmp_path / "bundle", WISH, base_model="someone/minilm")


def sampled(these: Labels | None = None, **changes) -> Sample:
    return Sample.of(these or labels(QUERIES), PairTemplate(), **changes)


def window(seed=9, n=60):
    return Traffic(labels(words(n, seed=seed), seed=seed).pairs, "traffic.parquet")


def test_a_draft_becomes_a_bundle_with_a_promise_that_says_what_it_rests_on(draft, order):
    sample = sampled()
    done = finish(draft, sample, order)
    bundle, manifest = Bundle.open(order.folder), done.bundle.manifest

    assert bundle.digest == done.bundle.digest
    assert done.decision.promised
    assert manifest.policy.guarantee.target == 0.8
    assert manifest.parent is None
    assert isinstance(manifest.calibration, PlattMap)
    assert manifest.roles["threshold"].n_pairs == len(sample.people(Role.THRESHOLD))
    assert sum(count.n_pairs for count in manifest.roles.values()) == 2_400
    assert manifest.metrics == done.evaluation.to_json()
    assert manifest.reference.n == len(sample.people(Role.DEV, Role.MAP))
    tried = manifest.policy.evidence["tries"]
    assert [len(one["clusters"]) for one in tried] == [sample.people(Role.THRESHOLD).n_clusters]
    assert read_roles(bundle.path) == sample.roles
    assert {"README.md", *PLOT_FILES} < set(manifest.files)
    readme = (bundle.path / "README.md").read_text()
    assert "at least 0.8, with a confidence of 0.95" in readme
    assert "base_model: someone/minilm" in readme


def test_a_promise_says_whether_a_record_of_other_tries_was_kept(draft, tmp_path):
    lacking = "no record of other tries was kept, so the promise holds only if this was the only try"
    for record in (None, tmp_path / "tries.jsonl"):
        order = Order(tmp_path / str(record is None), WISH, record=record)
        done = finish(draft, sampled(), order)
        assert done.decision.promised
        for text in (done.decision.said, (order.folder / "README.md").read_text()):
            assert (lacking in text) is (record is None)


def test_each_part_rests_on_its_role_alone(draft, tmp_path):
    """Labels of the other roles may be turned round, and it stays as it was."""
    sample = sampled()
    before = finish(draft, sample, Order(tmp_path / "before", WISH), window()).bundle.manifest
    parts = {
        Role.MAP: lambda manifest: manifest.calibration,
        Role.THRESHOLD: lambda manifest: {**manifest.policy.to_json(), "rests_on": ""},
        Role.TEST: lambda manifest: manifest.metrics["figures"]["auc"],
    }
    for turned in parts:
        severe = sample.settled.severe.copy()
        rows = np.flatnonzero(sample.role[sample.settled.pair] == turned)[::3]
        severe[rows] = ~severe[rows]
        other = replace(sample, settled=replace(sample.settled, severe=severe))
        after = finish(draft, other, Order(tmp_path / turned, WISH), window()).bundle.manifest
        for role, part in parts.items():
            assert (part(after) == part(before)) is (role is not turned), (turned, role)


def test_equal_work_gives_equal_bundles(draft, tmp_path):
    digests = {finish(draft, sampled(), Order(tmp_path / name, WISH)).bundle.digest for name in "ab"}

    assert len(digests) == 1


def test_an_isotonic_map_is_fitted_where_it_is_asked_for(draft, tmp_path):
    done = finish(draft, sampled(), Order(tmp_path / "bundle", WISH, isotonic=True))

    assert isinstance(done.bundle.manifest.calibration, IsotonicMap)


def test_traffic_gives_the_reference_and_the_review_threshold(draft, order):
    traffic = window(n=300)
    done = finish(draft, sampled(), order, traffic)
    logit = said(draft.path, [], [pair.document for pair in traffic.pairs], source="")

    assert done.bundle.manifest.reference == ReferenceScores.of(logit)
    reviewed = done.bundle.manifest.policy.decide(logit) == 1
    assert 0.09 < reviewed.mean() <= 0.1


def test_pairs_that_a_score_chose_for_a_judge_are_no_traffic(draft, order):
    """They raised the reference and the review threshold, where no window was given."""
    sample = sampled()
    place = np.flatnonzero(sample.role == Role.MAP)[0]
    pair = Pair(sample.labels.pairs[place].query, {"text": "9.0"}, None, None)
    row = Label(len(sample.labels.pairs), Source.JUDGE, "j", "severe", 1.0, Sampling.BY_SCORE, False)
    these = Labels(SEVERE_OR_NOT, (*sample.labels.pairs, pair), (*sample.labels.rows, row))
    done = finish(draft, sampled(these), order)

    assert done.bundle.manifest.reference.n == len(sample.people(Role.DEV, Role.MAP))
    assert done.bundle.manifest.reference.quantiles[-1] < 9


def test_a_folder_of_this_machine_is_no_base_model_in_the_card(draft, tmp_path):
    finish(draft, sampled(), Order(tmp_path / "bundle", WISH, base_model=str(draft.path)))

    assert str(tmp_path) not in (tmp_path / "bundle" / "README.md").read_text()


def test_tries_of_an_earlier_bundle_count_where_its_roles_are_kept(parent, draft, tmp_path):
    """A second model on the same threshold clusters would have had the whole chance to be wrong again."""
    kept, other = sampled(known=read_roles(parent.path)), Wish(target=0.7)
    with pytest.raises(TriesSpent):
        finish(draft, kept, Order(tmp_path / "a", other), earlier=parent)
    fresh = sampled(labels(words(400, seed=7)))
    done = finish(draft, fresh, Order(tmp_path / "b", other), earlier=parent)
    assert done.n_tries == 1


def test_what_the_draft_says_of_a_role_stays(draft, order, tmp_path):
    counted = replace(MANIFEST, roles={"train": RoleCount(9_999, 10, 10)})
    told = write_bundle(tmp_path / "told", model_folder=draft.path, manifest=counted)

    assert finish(told, sampled(), order).bundle.manifest.roles["train"].n_pairs == 9_999


def test_labels_that_say_nothing_promise_nothing_and_the_card_says_so_aloud(draft, order):
    done = finish(draft, sampled(labels(QUERIES, signal=0.3)), order)

    assert not done.decision.promised
    assert done.bundle.manifest.policy.prune == np.inf
    assert "# NOTHING IS PROMISED, AND NOTHING IS PRUNED" in (order.folder / "README.md").read_text()


def test_a_role_of_one_kind_cannot_be_calibrated(draft, order):
    sample = sampled()
    sample.settled.severe[sample.role[sample.settled.pair] == Role.MAP] = False

    with pytest.raises(CalibrationFailed, match="0 severe"):
        finish(draft, sample, order)
    assert not order.folder.exists()


def test_logits_that_fall_with_severity_cannot_be_calibrated(draft, order):
    with pytest.raises(CalibrationFailed, match="do not rise"):
        finish(draft, sampled(labels(QUERIES, signal=-4.0)), order)


def test_a_role_without_pairs_is_refused(draft, order):
    with pytest.raises(DataRefused, match="has the role threshold; label more"):
        finish(draft, sampled(shares={role: 1.0 for role in Role if role is not Role.THRESHOLD}), order)


def test_what_exists_is_refused_before_anything_is_scored(draft, order, monkeypatch):
    monkeypatch.setattr(module.apply, "logits", None)
    order.folder.mkdir()
    with pytest.raises(BundleProblem, match="exists already"):
        finish(draft, sampled(), order)
    with pytest.raises(BundleProblem, match="exists already"):
        renew(draft, to_prove(draft, labels(NEW)), order, window(), data={}, source="labels")


def test_a_window_that_leaves_no_threshold_to_try_is_no_try(draft, tmp_path):
    record, strict = tmp_path / "tries.jsonl", Wish(target=0.999)
    done = finish(draft, sampled(), Order(tmp_path / "one", strict, record=record))

    assert done.decision.proof.trials == ()
    assert done.n_tries == 0
    assert not record.exists()


def test_too_few_clusters_are_not_tested_at_the_thresholds_of_an_earlier_try(draft, tmp_path):
    """The look would have been on no record."""
    sample, twice = sampled(), replace(WISH, n_tries=2)
    parent = finish(draft, sample, Order(tmp_path / "parent", twice)).bundle
    dev_and_map = [sample.labels.pairs[i] for i in np.flatnonzero(np.isin(sample.role, ["dev", "map"]))]
    few = labels(sample.people(Role.THRESHOLD).query[::6][:10].tolist())
    done = renew(
        parent,
        to_prove(parent, few),
        Order(tmp_path / "child", twice),
        Traffic(dev_and_map, "traffic"),
        data={},
        source="labels",
    )

    assert done.decision.proof.trials == ()
    assert not done.decision.promised


def test_a_try_beyond_the_plan_leaves_no_bundle_and_is_refused_before_anything_is_scored(
    draft, tmp_path, monkeypatch
):
    record = tmp_path / "tries.jsonl"
    finish(draft, sampled(), Order(tmp_path / "one", WISH, record=record))
    monkeypatch.setattr(module.apply, "logits", None)
    with pytest.raises(TriesSpent):
        finish(draft, sampled(), Order(tmp_path / "two", Wish(target=0.7), record=record))
    assert not (tmp_path / "two").exists()


@pytest.fixture
def parent(draft, order) -> Bundle:
    return finish(draft, sampled(), order).bundle


def test_a_child_has_the_map_and_the_model_of_its_parent_and_thresholds_of_its_own(parent, tmp_path):
    order, fresh = Order(tmp_path / "child", Wish(target=0.7, max_review_share=0.2)), labels(NEW)
    parent.manifest.metrics["against_parent"] = "of other thresholds"
    done = renew(
        parent, to_prove(parent, fresh), order, window(), data={"labels.parquet": "sha256:b"}, source="new"
    )
    child = Bundle.open(order.folder).manifest

    assert child.parent == parent.digest
    assert "against_parent" not in child.metrics
    assert child.calibration == parent.manifest.calibration
    assert child.policy.guarantee.target == 0.7
    assert child.roles["threshold"] == RoleCount(720, int(fresh.settled.severe.sum()), 120)
    assert child.roles["train"] == parent.manifest.roles["train"]
    assert child.data == {"labels.parquet": "sha256:a", "labels.parquet (thresholds)": "sha256:b"}
    assert read_roles(done.bundle.path).by_query[digest(NEW[0])] is Role.THRESHOLD
    assert done.n_tries == 1


def test_without_a_test_the_figures_of_other_thresholds_are_left_out(parent, tmp_path):
    order = Order(tmp_path / "child", WISH)
    done = renew(parent, to_prove(parent, labels(NEW)), order, window(), data={}, source="new")
    metrics, readme = done.bundle.manifest.metrics, (order.folder / "README.md").read_text()

    assert done.evaluation is None
    assert set(metrics["figures"]) == {"auc", "auc_within_query", "average_precision"}
    assert metrics["calibration"] == parent.manifest.metrics["calibration"]
    assert "before these thresholds were set" in readme
    assert "Drawn on the labelled pairs that the thresholds were tested on" in readme
    assert "base_model: someone/minilm" in readme


def test_the_labels_of_the_parent_judge_the_child_again(parent, tmp_path):
    """The same model, target and labels with another window: a second try, which nobody planned."""
    proving = to_prove(parent, labels(QUERIES))
    with pytest.raises(TriesSpent):
        renew(parent, proving, Order(tmp_path / "a", WISH), window(), data={}, source="labels")
    sample = sampled()
    same = Traffic(
        [pair for pair, role in zip(sample.labels.pairs, sample.role, strict=True) if role in ("dev", "map")],
        "",
    )
    done = renew(parent, proving, Order(tmp_path / "b", WISH), same, data={}, source="labels")

    assert done.evaluation.n_pairs == parent.manifest.metrics["n_pairs"]
    assert done.bundle.manifest.metrics == parent.manifest.metrics
    assert done.bundle.manifest.policy == parent.manifest.policy


def test_labels_that_grew_are_tested_at_the_thresholds_of_the_first_look(draft, tmp_path):
    traffic, sample = window(n=300), sampled()
    parent = finish(draft, sample, Order(tmp_path / "parent", WISH), traffic)
    proven = set(sample.people(Role.THRESHOLD).query.tolist())
    grown = together(only(sample.labels, proven), labels(NEW))
    done = renew(
        parent.bundle,
        to_prove(parent.bundle, grown),
        Order(tmp_path / "child", WISH),
        traffic,
        data={},
        source="",
    )

    assert done.n_tries == 1
    assert done.decision.n_clusters == parent.decision.n_clusters + 120
    assert done.decision.proof.trials[0].threshold == parent.decision.proof.trials[0].threshold
    assert [len(one["clusters"]) for one in done.bundle.manifest.policy.evidence["tries"]] == [
        parent.decision.n_clusters,
        done.decision.n_clusters,
    ]


def test_labels_that_were_settled_anew_are_another_try(draft, tmp_path):
    """Whoever had a promise refused could have had the labels changed, and looked again for nothing."""
    sample, traffic = sampled(), window()
    parent = finish(draft, sample, Order(tmp_path / "parent", WISH), traffic).bundle
    mended = labels(QUERIES, seed=0, signal=9.0)
    order = Order(tmp_path / "child", WISH)
    with pytest.raises(TriesSpent):
        renew(parent, to_prove(parent, mended), order, traffic, data={}, source="")
    same = renew(parent, to_prove(parent, sample.labels), order, traffic, data={}, source="")
    assert same.n_tries == 1


def test_tries_of_the_parent_do_not_count_on_a_fresh_sample(parent, tmp_path):
    proving = to_prove(parent, labels(NEW))
    done = renew(parent, proving, Order(tmp_path / "a", Wish(0.7)), window(), data={}, source="labels")

    assert len(done.bundle.manifest.policy.evidence["tries"]) == 1


def test_what_is_in_a_bundle_is_plain_json(parent):
    assert "NaN" not in json.dumps(parent.manifest.to_json(), allow_nan=False)
    assert isinstance(read_roles(parent.path), Roles)


def test_probes_are_of_the_traffic_from_the_least_to_the_most_severe(draft, order):
    traffic = window(n=400)
    probes = read_probes(finish(draft, sampled(), order, traffic).bundle.path)
    logit = said(draft.path, [], [pair.document for pair in traffic.pairs], source="").astype(np.float32)
    assert len(probes.logit) == N_PROBES < len(logit)
    assert (probes.logit.min(), probes.logit.max()) == (logit.min(), logit.max())
