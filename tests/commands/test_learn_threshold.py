"""`sluice learn threshold` writes a bundle, says what is promised, and its exit code whether anything is."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from actors.bundle import Bundle
from actors.errors import BundleProblem, DataRefused, TriesSpent
from actors.learn import apply
from actors.learn.labels import Sampling
from pipeline.commands.learn import app
from tests.commands.learning import NEW, bundle, every, label_file, traffic_file
from tests.learn.labelled import labels, said


@pytest.fixture(autouse=True)
def texts_that_tell(monkeypatch):
    monkeypatch.setattr(apply, "logits", said)


def run(*arguments):
    return CliRunner().invoke(app, ["threshold", *(str(one) for one in arguments)])


@pytest.fixture
def words(tmp_path):
    """A bundle, new labels and traffic; the target can be proven."""
    new = label_file(tmp_path / "new.jsonl", labels(NEW, signal=8.0))
    traffic = traffic_file(tmp_path / "traffic.jsonl")
    return (bundle(tmp_path).path, new, "--traffic", traffic, "--target", "0.8")


def test_a_clear_signal_gets_a_bundle_with_a_promise_and_zero(tmp_path, words):
    ended = run(*words, "--out", tmp_path / "child", "--json")
    report, child = json.loads(ended.stdout), Bundle.open(tmp_path / "child")

    assert ended.exit_code == 0
    assert report["promised"] is True
    assert report["digest"] == child.digest
    assert report["parent"] == child.manifest.parent == Bundle.open(words[0]).digest
    assert child.manifest.policy.guarantee.target == 0.8
    assert child.manifest.policy.prune == report["prune"]
    assert child.manifest.reference.n == 600
    assert 0 < report["traffic_shares"]["review"] <= 0.05
    assert report["labels_on_trust"] is False
    assert "promised: a precision of 0.8" in run(*words, "--out", tmp_path / "again").stdout


def test_no_signal_gets_a_bundle_that_prunes_nothing_and_one(tmp_path, words):
    label_file(words[1], labels(NEW, signal=0.0))
    ended = run(*words, "--out", tmp_path / "child")

    assert ended.exit_code == 1
    assert "NOTHING IS PRUNED" in ended.stdout
    assert Bundle.open(tmp_path / "child").manifest.policy.guarantee is None
    assert "NOTHING IS PROMISED" in (tmp_path / "child" / "README.md").read_text()


def test_what_is_asked_for_comes_from_the_settings_where_no_option_says_it(tmp_path, words):
    config = tmp_path / "train.yaml"
    config.write_text(
        f"labels: {{paths: [{words[1]}]}}\n"
        f"policy:\n  traffic: {words[3]}\n  wish: {{target: 0.7, max_review_share: 0.2, cap: 3}}\n"
    )
    ended = run(words[0], "-c", config, "--cap", 4, "--out", tmp_path / "child", "--json")
    report = json.loads(ended.stdout)

    assert (report["target"], report["cap"]) == (0.7, 4)
    assert 0.15 < report["traffic_shares"]["review"] <= 0.2


def test_a_try_beyond_the_plan_is_refused_and_leaves_no_bundle(tmp_path, words):
    record = ("--record", tmp_path / "tries.jsonl", "--tries", 2, "--json", "--out")

    assert json.loads(run(*words, *record, tmp_path / "a").stdout)["tries_made"] == 1
    assert json.loads(run(*words, *record, tmp_path / "b").stdout)["tries_made"] == 1
    assert json.loads(run(*words[:-1], 0.7, *record, tmp_path / "c").stdout)["tries_made"] == 2
    assert isinstance(run(*words[:-1], 0.6, *record, tmp_path / "d").exception, TriesSpent)
    assert not (tmp_path / "d").exists()
    tries = Bundle.open(tmp_path / "c").manifest.policy.evidence["tries"]
    assert [one["target"] for one in tries] == [0.8, 0.7]


def test_the_record_of_the_settings_is_kept_where_no_option_names_one(tmp_path, words):
    record = ("--set", f"policy.record={tmp_path / 'tries.jsonl'}", "--out")

    assert run(*words, *record, tmp_path / "a").exit_code == 0
    assert isinstance(run(*words[:-1], 0.7, *record, tmp_path / "b").exception, TriesSpent)


def test_labels_that_the_bundle_has_used_otherwise_are_refused(tmp_path, words):
    label_file(words[1], labels([*NEW, *every()[:20]]))
    assert "20 train, 120 unknown" in str(run(*words, "--out", tmp_path / "child").exception)


def test_pairs_that_a_score_chose_are_refused(tmp_path, words):
    label_file(words[1], labels(NEW, sampling=Sampling.BY_SCORE))
    ended = run(*words, "--set", "labels.columns.sampling=how", "--out", tmp_path / "child")
    assert isinstance(ended.exception, DataRefused)


def test_a_bundle_that_records_no_roles_is_believed_and_that_is_said(tmp_path, words):
    other = bundle(tmp_path, "other", roles=False).path
    ended = run(other, *words[1:], "--out", tmp_path / "child")

    assert ended.exit_code == 0
    assert "taken on trust" in ended.stdout


def test_a_single_kind_of_label_is_refused(tmp_path, words):
    words[1].write_text('{"query": "a", "document": "1", "level": "fine"}\n')
    assert "every label is not severe" in str(run(*words, "--out", tmp_path / "child").exception)


def test_traffic_of_one_row_is_refused(tmp_path, words):
    traffic_file(words[3], n=1)
    assert "1 pairs; a window" in str(run(*words, "--out", tmp_path / "child").exception)


def test_a_folder_that_exists_is_refused(tmp_path, words):
    said = run(*words, "--out", words[0]).exception
    assert isinstance(said, BundleProblem)


@pytest.mark.parametrize(
    "wrong", [("--target", "1"), ("--confidence", "0"), ("--max-review-share", "2"), ("--cap", "0")]
)
def test_a_wrong_call_is_refused_with_two(tmp_path, words, wrong):
    assert run(*words, *wrong, "--out", tmp_path / "child").exit_code == 2


def test_labels_and_traffic_have_to_be_named(tmp_path, words):
    assert run(words[0], "--traffic", words[3], "--out", tmp_path / "child").exit_code == 2
    assert run(*words[:2], "--out", tmp_path / "child").exit_code == 2
