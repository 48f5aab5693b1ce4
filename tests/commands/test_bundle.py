"""`sluice bundle` as a script and a person meet it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from actors.bundle import Bundle, write_child
from actors.errors import BundleProblem, DigestMismatch
from actors.manifest import RoleCount
from actors.pairs import PairTemplate, Part
from actors.policy import Guarantee, Policy
from pipeline.commands.bundle import app
from tests.fakes import stand_in_bundle

AUC = {"value": 0.81, "low": 0.75, "high": 0.86, "n_clusters": 40, "level": 0.95, "approximate": True}
METRICS = {
    "n_pairs": 1200,
    "figures": {"auc": AUC},
    "calibration": {"bins": [], "brier": AUC | {"value": 0.1}, "expected_calibration_error": 0.0321},
}


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def bundle(tmp_path):
    return stand_in_bundle(tmp_path)


@pytest.fixture
def child(bundle, tmp_path):
    promised = Policy(
        prune=2.5,
        review=1.0,
        rests_on="400 labelled clusters",
        guarantee=Guarantee(0.95, 0.9, 5),
        evidence={"n": [1]},
    )
    manifest = replace(
        bundle.manifest,
        policy=promised,
        roles={"test": RoleCount(1200, 300, 40)},
        metrics=METRICS,
        name="[red]child",
        template=PairTemplate(document=(Part("title"), Part("brand", "[b]Brand: "))),
    )
    return write_child(tmp_path / "child", bundle, manifest)


def test_a_whole_bundle_is_verified(bundle):
    said = run("verify", bundle.path)
    assert (said.exit_code, said.stdout) == (0, f"{bundle.path}: whole, 4 files, {bundle.digest}\n")
    report = json.loads(run("verify", bundle.path, "--json").stdout)
    assert report == {
        "address": str(bundle.path),
        "digest": bundle.digest,
        "schema": 3,
        "files": dict(bundle.manifest.files),
    }


@pytest.mark.parametrize("command", ["verify", "show", "diff"])
def test_an_altered_bundle_is_refused_by_every_command(bundle, command):
    (bundle.path / "model.safetensors").write_text("other weights")
    said = run(command, *[bundle.path] * (2 if command == "diff" else 1), "--json")
    assert isinstance(said.exception, DigestMismatch)
    assert said.stdout == ""


def test_what_is_no_bundle_is_refused(tmp_path):
    assert isinstance(run("verify", tmp_path).exception, BundleProblem)


def test_an_address_is_fetched(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    assert json.loads(run("show", bundle.path.as_uri(), "--json").stdout)["digest"] == bundle.digest
    assert (tmp_path / "cache" / "bundles").is_dir()


def test_a_bundle_is_shown_to_people(bundle, child):
    said = run("show", child.path).stdout
    for fact in (
        child.digest,
        bundle.digest,
        "precision of prune >= 0.95 with confidence 0.9, at most 5 of a cluster counting",
        "from logit 2.5000, which is relevance 0.076",
        "400 labelled clusters",
        "fine, severe (severe)",
        "title, '[b]Brand: ' brand",
        "1,200",
        "0.810 [~0.750, ~0.860]",
        "Brier score",
        "0.032, a point",
        "value [interval]",
        "[red]child",
    ):
        assert fact in said
    assert "none" in run("show", bundle.path).stdout


def test_what_is_expected_and_lacking_is_shown(bundle, tmp_path):
    evidence = {
        "target": 0.95,
        "confidence": 0.9,
        "promised": False,
        "n_clusters": 22,
        "clusters_needed": {"without_error": 74},
        "traffic_shares": {"pass": 0.95, "prune": 0.0, "review": 0.05},
    }
    nothing = Policy(math.inf, 0.5, "a test", evidence=evidence)
    metrics = {"training": {"accepted": ["leakage"]}}
    child = write_child(tmp_path / "timid", bundle, replace(bundle.manifest, policy=nothing, metrics=metrics))
    said = run("show", child.path).stdout

    assert "expected: prune 0.00%, review 5.00%, pass 95.00% of traffic" in said
    assert "lacking: 0.95 at 0.9 takes 74 labelled clusters full of prunes" in said
    assert "let pass: leakage" in said
    assert "lacking" not in run("show", bundle.path).stdout
    strange = Policy(
        math.inf, 0.5, "a test", evidence={"traffic_shares": 3, "promised": False, "target": "all"}
    )
    other = write_child(tmp_path / "strange", bundle, replace(bundle.manifest, policy=strange))
    assert run("show", other.path).exit_code == 0


@pytest.mark.parametrize(
    "metrics",
    [
        {"training": [1]},
        {"training": {"accepted": 1}},
        {"training": {"accepted": [1]}},
        {"n_pairs": "many"},
        {"figures": [1]},
        {"figures": {"auc": AUC | {"value": "high"}}},
        {"against_parent": 5},
    ],
)
def test_metrics_that_somebody_else_wrote_are_shown_as_far_as_they_are_understood(bundle, tmp_path, metrics):
    """Each of them ended in a traceback."""
    child = write_child(tmp_path / "child", bundle, replace(bundle.manifest, metrics=metrics))
    assert run("show", child.path).exit_code == 0


def test_what_a_bundle_says_gives_the_terminal_no_orders(bundle, tmp_path):
    odd = replace(bundle.manifest, name="\x1b[2Jcleared", origin="here\x1b]0;title\x07")
    child = write_child(tmp_path / "child", bundle, odd)
    for said in (run("show", child.path), run("diff", bundle.path, child.path)):
        assert "\x1b" not in said.stdout
        assert "\\x1b[2Jcleared" in said.stdout


def test_a_threshold_that_is_never_reached_and_long_texts_are_told_in_words(bundle, tmp_path):
    manifest = bundle.manifest
    blank = replace(manifest, template=replace(manifest.template, separator=" | "))
    child = write_child(tmp_path / "timid", bundle, replace(blank, policy=Policy(math.inf, 0.5, "no " * 70)))
    said = run("diff", bundle.path, child.path).stdout

    assert " -> never" in said
    assert '-> " | "' in said
    assert f'\n -> "{"no " * 70}"\n' in said


def test_a_bundle_is_shown_to_scripts_as_its_manifest(child):
    said = json.loads(run("show", child.path, "--json").stdout)
    assert said == child.manifest.to_json() | {"digest": child.digest}


def test_equal_bundles_do_not_differ(bundle, tmp_path):
    again = write_child(tmp_path / "again", bundle, bundle.manifest)
    said = run("diff", again.path, again.path)
    assert (said.exit_code, said.stdout) == (0, f"equal: {again.digest}\n")
    assert json.loads(run("diff", again.path, again.path, "--json").stdout)["differences"] == {}


def test_what_differs_is_said_and_the_exit_code_is_one(bundle, child):
    said = run("diff", bundle.path, child.path)
    assert said.exit_code == 1
    for fact in ("thresholds", "2.0", "2.5", "guarantee.target", "absent", "figures.auc.value", "[red]child"):
        assert fact in said.stdout
    report = json.loads(run("diff", bundle.path, child.path, "--json").stdout)
    assert (report["one"], report["other"]) == (bundle.digest, child.digest)
    assert report["differences"]["thresholds"] == {"prune": [2.0, 2.5]}
    assert report["differences"]["about"]["parent"] == [None, bundle.digest]
    assert report["differences"]["evidence"]["evidence.n"] == ["absent", [1]]


def test_a_long_list_of_differences_is_cut_for_people_and_whole_for_scripts(bundle, tmp_path):
    metrics = {"figures": {f"figure {number}": number for number in range(40)}}
    child = write_child(tmp_path / "child", bundle, replace(bundle.manifest, metrics=metrics))
    assert "and 28 more: --json has all" in run("diff", bundle.path, child.path).stdout
    report = json.loads(run("diff", bundle.path, child.path, "--json").stdout)
    assert len(report["differences"]["metrics"]) == 40
    assert Bundle.open(child.path) == child
    assert run("show", child.path).exit_code == 0
