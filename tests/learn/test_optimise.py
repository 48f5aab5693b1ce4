"""A child computed in another way: its own map and promise, and only if it does what its parent does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.bundle import CARD_FILE, EXPORT_FILES, PROBES_FILE, Bundle
from actors.errors import BundleProblem, DataRefused, ScoresDrifted, TriesSpent
from actors.learn import optimise as module
from actors.learn.bootstrap import Difference
from actors.learn.optimise import Likeness, liken, optimise
from actors.learn.roles import read_roles
from actors.learn.sample import Sample
from actors.probes import read_probes
from actors.scorer import Scorer
from actors.serving import InstructionSet, Precision, Serving, instructions_here
from pipeline.commands.bundle import app
from pipeline.learn_settings import load_learn
from pipeline.training import train
from tests.label_sets import by_people, labels, labels_file, pairs

FOUND = pairs(60, 4)
HERE = [one for one in InstructionSet if one in instructions_here()]
IN_BF16 = Serving(precision=Precision.BF16)

pytestmark = pytest.mark.usefixtures("one_thread", "few_draws")


@pytest.fixture(scope="module")
def label_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return labels_file(folder / "labels.jsonl", labels(FOUND, *by_people(FOUND, "ann", "bob")))


@pytest.fixture(scope="module")
def told(label_file, tiny_encoder):
    """What a command is told with `--set`."""
    given = {
        "labels.paths": json.dumps([str(label_file)]),
        "labels.columns": "{level: level, source: source, annotator: who, sampling: how, segment: segment}",
        "labels.rubric": "{gains: {good: 1, odd: 0.5, bad: 0}, severe: [bad]}",
        "model.base": str(tiny_encoder),
        "recipe": "{batch_size: 8, learning_rate: 0.01, head_learning_rate: 0.01}",
        "augment": "{mismatches: 16, pseudo_queries: 8, exclusions: 4}",
        "teacher": "{kind: none}",
        "policy.wish": "{target: 0.5, confidence: 0.6, n_tries: 2}",
    }
    return [f"{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module")
def parent(told, tmp_path_factory, one_thread, few_draws) -> Bundle:
    done = train(load_learn(None, told), tmp_path_factory.mktemp("bundles") / "parent")
    return Bundle.open(done.finished.bundle.path)


@pytest.fixture(scope="module")
def sample(parent) -> Sample:
    rows = labels(FOUND, *by_people(FOUND, "ann", "bob"))
    return Sample.of(rows, parent.manifest.template, known=read_roles(parent.path))


@pytest.fixture
def order(told, tmp_path):
    from actors.learn.finish import Order

    return Order(tmp_path / "child", load_learn(None, told).policy.wish)


def test_a_child_has_the_same_weights_and_another_way_map_and_promise(parent, sample, order):
    done = optimise(parent, sample, order, IN_BF16)
    child = Bundle.open(done.finished.bundle.path)
    assert done.likeness.accepted
    assert child.manifest.serving == IN_BF16
    assert child.manifest.parent == parent.digest
    same = [
        name for name, digest in parent.manifest.files.items() if child.manifest.files.get(name) == digest
    ]
    assert {"model.safetensors", "config.json", "tokenizer.json", "roles.json"} <= set(same)
    assert child.manifest.roles == parent.manifest.roles
    assert len(child.manifest.policy.evidence["tries"]) == 2
    assert child.manifest.metrics["training"] == parent.manifest.metrics["training"]
    assert child.manifest.metrics["against_parent"] == done.likeness.to_json()
    card = (child.path / CARD_FILE).read_text()
    assert "## Beside its parent" in card
    assert f"AUC less the parent's: {done.likeness.auc}" in card
    shown = CliRunner().invoke(app, ["show", str(child.path)]).stdout
    assert f"the same action for {done.likeness.decisions_equal:.2%} of all" in shown
    before, after = read_probes(parent.path), read_probes(child.path)
    assert before.tokens.ids.tolist() == after.tokens.ids.tolist()
    assert 0 < after.drift(before.logit) < 0.2
    Scorer(child.path, threads=1)


def test_a_child_that_does_something_else_is_not_written(parent, sample, order, monkeypatch):
    monkeypatch.setattr(module, "MOST_DIFFERENT", -1.0)
    done = optimise(parent, sample, order, IN_BF16)
    assert not done.likeness.accepted
    assert not list(order.folder.parent.iterdir())


def test_a_promise_is_one_more_try_and_must_have_been_planned(parent, sample, order):
    unplanned = replace(order, wish=replace(order.wish, n_tries=1))
    with pytest.raises((TriesSpent, DataRefused), match="plan"):
        optimise(parent, sample, unplanned, IN_BF16)
    assert not order.folder.exists()


def test_where_something_is_nothing_is_done(parent, sample, order):
    order.folder.mkdir()
    with pytest.raises(BundleProblem, match="never overwritten"):
        optimise(parent, sample, order, IN_BF16)


def test_a_bundle_is_like_itself(parent, sample):
    found = liken(parent, parent, sample, [], source="labels")
    assert (found.n_different, found.decisions_equal, found.set_difference) == (0, 1.0, 0.0)
    assert (found.auc.low, found.auc.high) == (0, 0)
    assert found.accepted
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"n_different": 2}, True),
        ({"n_different": 3}, False),
        ({"n_parent": 0}, True),
        ({"n_parent": 0, "n_different": 1}, False),
        ({"auc": Difference(0.0, -0.0031, 0.01, 40)}, False),
        ({"auc": Difference(0.0, None, None, 1)}, False),
    ],
)
def test_a_child_is_accepted_where_sets_and_ranks_are_alike(change, accepted):
    auc = Difference(0.0, -0.003, 0.01, 40)
    alike = Likeness(1_000, "prune", n_parent=100, n_different=0, decisions_equal=0.99, auc=auc)
    assert replace(alike, **change).accepted is accepted


def test_probes_that_come_out_otherwise_are_not_served(parent, tmp_path):
    from actors.bundle import write_bundle

    probes = read_probes(parent.path)
    off = replace(probes, logit=probes.logit + np.float32(0.1 * probes.logit.std()))
    other = write_bundle(
        tmp_path / "off",
        model_folder=parent.path,
        manifest=replace(parent.manifest, files={}),
        files={PROBES_FILE: off.to_bytes()},
    )
    with pytest.raises(ScoresDrifted, match=r"0\.1 standard"):
        Scorer(other.path, threads=1)


@pytest.mark.slow  # a trace, and a few hundred pairs to settle scales on
@pytest.mark.skipif(not HERE, reason="this processor has none of OpenVINO's instruction sets")
def test_the_command_exports_and_says_what_came_of_it(parent, told, label_file, tmp_path):
    settings = [part for one in told for part in ("--set", one)]
    arguments = [
        parent.path,
        label_file,
        "--precision",
        "fp32",
        "--out",
        tmp_path / "fast",
        *settings,
        "--json",
    ]
    done = CliRunner().invoke(app, ["optimise", *(str(one) for one in arguments)])
    report = json.loads(done.stdout)
    assert report["serving"] == {"engine": "openvino", "precision": "fp32", "instructions": HERE[-1].value}
    assert report["likeness"]["accepted"]
    assert done.exit_code == (0 if report["promised"] else 1)
    child = Bundle.open(tmp_path / "fast")
    assert set(EXPORT_FILES) <= set(child.manifest.files)
    assert (child.digest, child.manifest.parent) == (report["digest"], parent.digest)


def test_a_way_that_no_engine_goes_is_refused_before_anything_is_read(tmp_path):
    done = CliRunner().invoke(
        app,
        ["optimise", "none", "--engine", "torch", "--precision", "int8", "--out", str(tmp_path / "child")],
    )
    assert done.exit_code == 2
