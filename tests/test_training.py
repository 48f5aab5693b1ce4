"""From labels to a bundle: what stops it, what it leaves behind, and that it goes on where it was."""

from __future__ import annotations

import errno
import fcntl
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

from actors import bundle
from actors.bundle import Bundle
from actors.errors import BundleProblem, DataRefused, TrainingStopped
from actors.files import file_digest
from actors.learn import finetune
from actors.learn.problems import Kind
from actors.learn.roles import Role, digest, read_roles
from pipeline import training
from pipeline.errors import SettingsError
from pipeline.learn_settings import LearnSettings, load_learn
from pipeline.training import states_beside, train
from tests.label_sets import by_judge, by_people, labels, labels_file, pairs
from tests.model_folders import tiny_encoder as tiny_encoder_folder

FOUND = pairs(60, 4)

pytestmark = pytest.mark.usefixtures("one_thread", "few_draws")


@pytest.fixture(scope="module")
def label_file(tmp_path_factory):
    rows = by_people(FOUND, "ann", "bob")
    return labels_file(tmp_path_factory.mktemp("data") / "labels.jsonl", labels(FOUND, *rows))


@pytest.fixture(scope="module")
def settings(label_file, tiny_encoder) -> Callable[..., LearnSettings]:
    """Those of a quick run, with some changed: `settings("teacher.kind=file", paths=[…])`."""

    def make(*changes, paths=(label_file,)):
        given = {
            "labels.paths": json.dumps([str(path) for path in paths]),
            "labels.columns": "{level: level, source: source, annotator: who, sampling: how, segment: segment}",
            "labels.rubric": "{gains: {good: 1, odd: 0.5, bad: 0}, severe: [bad]}",
            "model.base": str(tiny_encoder),
            "recipe": "{batch_size: 8, learning_rate: 0.01, head_learning_rate: 0.01}",
            "augment": "{mismatches: 16, pseudo_queries: 8, exclusions: 4}",
            "teacher": "{kind: none}",
        }
        return load_learn(None, [*(f"{name}={value}" for name, value in given.items()), *changes])

    return make


@pytest.fixture(scope="module")
def made(settings, tmp_path_factory, one_thread, few_draws):
    """A run to its end; for tests that only read."""
    return train(settings(), tmp_path_factory.mktemp("bundles") / "made")


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    one, other = weights(one), weights(other)
    return all(one[name].equal(other[name]) for name in one)


def test_a_bundle_says_what_it_was_made_of(made, label_file):
    bundle = Bundle.open(made.finished.bundle.path)
    said = bundle.manifest
    assert {*said.data} == {"labels.jsonl"}
    assert said.origin == "480 labels from labels.jsonl"
    assert said.metrics["training"]["labelled_pairs"]["human"] == said.roles["train"].n_pairs
    assert {*said.roles} == {role.value for role in Role}
    assert sum(one.n_pairs for one in said.roles.values()) == 240
    assert len(read_roles(bundle.path).by_query) == 60
    assert (bundle.path / "README.md").exists()
    assert not states_beside(bundle.path).exists()
    told = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert told["digest"] == bundle.digest
    assert told["against_teacher"] is None


def test_a_bundle_says_by_what_it_was_made_and_the_page_about_its_format_names_it_all(
    made, settings, tiny_encoder
):
    told, given = made.finished.bundle.manifest.metrics["training"], settings()
    page = (Path(__file__).parents[1] / "docs" / "bundle-format.md").read_text()
    assert told["base"] == {"model.safetensors": file_digest(tiny_encoder / "model.safetensors")}
    assert told["recipe"] == asdict(given.recipe)
    assert (told["teacher"]["kind"], told["teacher"]["source"]) == ("none", None)
    assert told["augmentation"] == asdict(given.augment)
    assert told["agreement"] == {
        "krippendorff_alpha": 1.0,
        "pairs_labelled_twice": 240,
        "conflicts": 0,
        "pairs_of_one_person": 0,
    }
    table = page.split("| name in `training` |", 1)[1].split("\n\n", 1)[0]
    heads = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    assert sorted(heads) == sorted(told)


def test_no_place_of_this_machine_is_in_a_bundle(made, tmp_path_factory):
    manifest = (made.finished.bundle.path / "sluice.json").read_text()
    assert str(tmp_path_factory.getbasetemp().parent) not in manifest


def test_equal_settings_give_an_equal_bundle(made, settings, tmp_path):
    again = train(settings(), tmp_path / "again")
    assert again.finished.bundle.digest == made.finished.bundle.digest


def test_known_roles_stay(made, settings, tmp_path):
    known = made.finished.bundle.path
    found = train(settings("labels.seed=5", f"labels.known={known}"), tmp_path / "child")
    assert read_roles(found.finished.bundle.path).by_query == read_roles(known).by_query


# What stops a run before it begins


def refused(settings, out, error, match, **given):
    with pytest.raises(error, match=match) as caught:
        train(settings, out, **given)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert not states_beside(out).exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("labels.paths=[]", "labels.paths: name the files of labels"),
        # It was said after the last update.
        ("policy.record=/nowhere/tries.jsonl", "policy.record: /nowhere is no folder"),
        ("recipe.epochs=0", "recipe.epochs: 0 leaves nothing to learn where teacher.kind is none"),
        ("recipe.max_tokens=513", "model.base: .* 512 positions, and recipe.max_tokens is 513"),
        ("model.base=/nowhere/at/all", "model.base: /nowhere/at/all: no such folder"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(settings, tmp_path, change, match):
    refused(settings(change), tmp_path / "out", SettingsError, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("labels.columns.level=grade", "no column grade; map it to one of: "),
        ("labels.rubric={gains: {good: 1, worse: 0}, severe: [worse]}", "unknown level 'bad'"),
        ("model.template.query=[{field: brief}]", "no field of the query that the pair template names"),
        ("labels.shares={train: 0.7, test: 0.3}", "the role map has 0 pairs that people have settled"),
        ("policy.traffic=/nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("teacher={kind: file, source: /nowhere.jsonl}", "nowhere.jsonl: cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(settings, tmp_path, change, match):
    refused(settings(change), tmp_path / "out", DataRefused, match)


def test_labels_of_one_kind_or_of_too_few_clusters_are_refused(settings, tmp_path):
    few = by_people(FOUND[:12], "ann", "bob")
    path = labels_file(tmp_path / "few.jsonl", labels(FOUND[:12], *few))
    refused(settings(paths=[path]), tmp_path / "out", DataRefused, "3 clusters of queries")
    good = [row for row in by_people(FOUND, "ann", "bob") if row.level == "good"]
    path = labels_file(tmp_path / "good.jsonl", labels(FOUND, *good))
    refused(settings(paths=[path]), tmp_path / "out", DataRefused, "every label is not severe")


def test_a_role_of_one_kind_is_said_before_anything_is_learned(made, settings, tmp_path):
    """It used to be said after the last update."""
    roles = read_roles(made.finished.bundle.path)
    rows = [
        row
        for row in by_people(FOUND, "ann", "bob")
        if row.level == "good" or roles.by_query[digest(FOUND[row.pair].query["text"])] is not Role.MAP
    ]
    path = labels_file(tmp_path / "labels.jsonl", labels(FOUND, *rows))
    match = "the role map has .* 0 of them severe"
    refused(settings(paths=[path]), tmp_path / "out", DataRefused, match, accept=["single_class"])


def test_a_place_where_something_is_is_refused_at_once(made, settings):
    with pytest.raises(BundleProblem, match="exists already"):
        train(settings("labels.paths=[]"), made.finished.bundle.path)


def test_a_folder_that_cannot_be_written_is_one_line(settings, tmp_path):
    """A name that no folder can have, and a folder that may not be entered, came up as tracebacks."""
    (tmp_path / "file").touch()
    for name, said in (
        ("file/out", "out: nothing can be written there: Not a dir"),
        ("x" * 300, "cannot be written: File name too long"),
    ):
        with pytest.raises(BundleProblem, match=said) as caught:
            train(settings(), tmp_path / name)
        assert "\n" not in str(caught.value)


def test_what_the_audit_finds_is_mended_or_accepted_by_name(settings, tmp_path):
    turned = {"good": "bad", "bad": "good"}
    rows = by_people(FOUND, "ann", "bob")
    rows = [
        row
        if row.annotator == "ann" or row.pair % 2
        else replace(row, level=turned[row.level], p_severe=1 - row.p_severe)
        for row in rows
    ]
    path = labels_file(tmp_path / "labels.jsonl", labels(FOUND, *rows))
    said = refused(settings(paths=[path]), tmp_path / "out", DataRefused, "not fit to train on")
    kinds = [word for word in said.split("with ")[-1].split() if word != "--accept"]
    assert kinds
    refused(settings(paths=[path]), tmp_path / "out", DataRefused, "not fit", accept=["no_overlap"])
    found = train(settings(paths=[path]), tmp_path / "out", accept=[*Kind])
    assert [*found.accepted] == sorted(kinds)
    assert found.finished.bundle.manifest.metrics["training"]["accepted"] == sorted(kinds)


# What goes on


class Interrupted(Exception):
    pass


def stopping(stage="labels", after=0.5):
    """Interrupts a stage."""

    def on_stage(name):
        def on_step(done, total):
            if name == stage and done > after * total:
                raise Interrupted

        return on_step

    return on_stage


def interrupted(settings, out):
    with pytest.raises(Interrupted):
        train(settings(), out, on_stage=stopping())
    assert not out.exists()
    return out


@pytest.fixture
def out(settings, tmp_path):
    """Where a run was interrupted."""
    return interrupted(settings, tmp_path / "out")


@pytest.fixture(scope="module")
def left(settings, tmp_path_factory, one_thread):
    """The same, for tests that only read."""
    return interrupted(settings, tmp_path_factory.mktemp("bundles") / "left")


def test_an_interrupted_run_is_gone_on_with_when_that_is_said(made, settings, out):
    with pytest.raises(DataRefused, match="holds an interrupted run; go on with it by --resume"):
        train(settings(), out)
    steps = []
    found = train(
        settings(), out, resume=True, on_stage=lambda _: lambda done, total: steps.append(done / total)
    )
    assert steps[0] > 0.2
    assert same(found.finished.bundle.path, made.finished.bundle.path)
    assert not states_beside(out).exists()


@pytest.mark.parametrize("change", ["recipe.seed=1", "model.prior=false", "labels.seed=1"])
def test_a_run_with_other_settings_does_not_go_on_with_it(settings, left, change):
    with pytest.raises(DataRefused, match="begun with other settings, labels or code"):
        train(settings(change), left, resume=True)
    assert (states_beside(left) / "labels").exists()


def test_a_run_with_other_labels_does_not_go_on_with_it(settings, label_file, left, tmp_path):
    more = tmp_path / label_file.name
    more.write_text(label_file.read_text() + label_file.read_text().splitlines(keepends=True)[0])
    with pytest.raises(DataRefused, match="begun with other settings, labels or code"):
        train(settings(paths=[more]), left, resume=True)


def test_a_run_does_not_go_on_when_another_bundle_is_where_the_known_roles_were():
    """With other roles it could have been judged on what it had learned: only the address was noted."""
    settings = load_learn(None, ["labels.known=out/one"])
    names = {training._begun_with(settings, {}, {}, known=known) for known in ("sha256:a", "sha256:b", None)}
    assert len(names) == 3


def test_a_run_with_another_policy_goes_on_with_the_same_model(made, settings, out):
    found = train(settings("policy.wish.target=0.6"), out, resume=True).finished.bundle
    assert found.manifest.policy.evidence["target"] == 0.6
    assert same(found.path, made.finished.bundle.path)


def test_the_order_of_a_set_is_no_other_setting():
    """It is another one in each process; a run whose rubric has several severe levels could not go on."""
    assert training._plain(frozenset({"c", "a", "b"})) == ["a", "b", "c"]


def test_only_one_run_is_at_work_on_the_same_states(settings, left):
    with (states_beside(left) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for resume in (True, False):  # without it one was told to remove the folder of a run at work
            with pytest.raises(DataRefused, match="another run is at work there"):
                train(settings(), left, resume=resume)


def test_a_bundle_that_came_while_labels_were_read_is_found_before_anything_is_learned(
    settings, tmp_path, monkeypatch
):
    """Of two runs begun at once the second learned for nothing."""
    monkeypatch.setattr(training, "_refuse_too_little", lambda *_: (tmp_path / "out").mkdir())
    monkeypatch.setattr(training, "fit", None)
    with pytest.raises(BundleProblem, match="exists already"):
        train(settings(), tmp_path / "out")
    assert not states_beside(tmp_path / "out").exists()


def test_a_run_that_was_stopped_before_it_had_done_anything_is_none(settings, tmp_path):
    states = states_beside(tmp_path / "out")
    states.mkdir()
    (states / "begun.json").write_text('"half')
    (states / "lock").touch()
    interrupted(settings, tmp_path / "out")


def test_what_was_learned_is_not_learned_again_where_only_the_end_failed(
    made, settings, tmp_path, monkeypatch
):
    """It used to be: with the last update, the states of the run were gone."""
    finish = training.finish

    def fails(*_args, **_given):
        raise BundleProblem("out", "No space left on device")

    monkeypatch.setattr(training, "finish", fails)
    with pytest.raises(BundleProblem):
        train(settings(), tmp_path / "out")
    monkeypatch.setattr(training, "finish", finish)
    monkeypatch.setattr(training, "fit", None)
    found = train(settings(), tmp_path / "out", resume=True)
    assert same(found.finished.bundle.path, made.finished.bundle.path)
    assert found.fitted == made.fitted


def test_a_disk_that_is_full_in_the_middle_is_one_line_and_what_is_there_is_gone_on_with(
    made, settings, tmp_path, monkeypatch
):
    save = finetune.CrossEncoderTrainer.save_model
    n_saved = []

    def full(*args, **given):
        n_saved.append(1)
        if len(n_saved) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*args, **given)

    monkeypatch.setattr(finetune.CrossEncoderTrainer, "save_model", full)
    with pytest.raises(TrainingStopped, match=r"out.states/labels: No space left on device$"):
        train(settings(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out.states"]
    monkeypatch.setattr(finetune.CrossEncoderTrainer, "save_model", save)
    found = train(settings(), tmp_path / "out", resume=True)
    assert same(found.finished.bundle.path, made.finished.bundle.path)


def test_weights_that_do_not_fit_on_the_disk_are_one_line_though_there_is_room_for_less(
    settings, tmp_path, monkeypatch
):
    """A file of 90 MB that failed leaves 50 MB free; it used to be taken for another error, a traceback."""

    def full(*_args, **_given):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(finetune.CrossEncoderTrainer, "save_model", full)
    with pytest.raises(TrainingStopped, match="No space left on device"):
        train(settings(), tmp_path / "out")


def test_a_disk_that_is_full_at_the_end_leaves_no_half_bundle(settings, tmp_path, monkeypatch):
    write, n_written = bundle._write_all, []

    def full(*args):
        n_written.append(1)
        if len(n_written) == 2:  # the draft was the first
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args)

    monkeypatch.setattr(bundle, "_write_all", full)
    with pytest.raises(BundleProblem, match="No space left on device") as caught:
        train(settings(), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out.states"]


# Who teaches


def test_a_teacher_with_other_roles_is_refused_before_it_teaches(made, settings, tmp_path):
    """Its student would have learned, by what it says, the labels that the student's promise rests on."""
    teacher = made.finished.bundle.path
    for learned in (f"teacher={{kind: bundle, source: {teacher}}}", f"model.base={teacher}"):
        with pytest.raises(DataRefused, match="it has learned from queries that are to judge here"):
            train(settings(learned, "labels.seed=5"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_teaches_a_smaller_student_and_the_difference_is_told(made, settings, tmp_path):
    teacher = made.finished.bundle
    small = tiny_encoder_folder(tmp_path / "small", width=8)
    found = train(
        settings(f"teacher={{kind: bundle, source: {teacher.path}}}", f"model.base={small}"), tmp_path / "out"
    )
    assert found.fitted.n_imitated > 0
    assert found.cost.teacher == teacher.digest
    assert found.cost.n_parameters < found.cost.n_parameters_teacher
    assert found.cost.n_pairs == teacher.manifest.roles["test"].n_pairs
    told = found.finished.bundle.manifest.metrics["against_teacher"]
    assert told == found.cost.to_json()
    assert told["differences"]["auc"]["low"] <= told["differences"]["auc"]["value"]
    assert found.finished.bundle.manifest.metrics["training"]["teacher"]["source"] == teacher.digest


def test_a_file_teaches(made, settings, tmp_path):
    roles = read_roles(made.finished.bundle.path).by_query
    path = tmp_path / "said.jsonl"
    rows = [
        {"query": pair.query["text"], "document": f"{pair.document['text']} again", "p_severe": i % 3 / 2.5}
        for i, pair in enumerate(FOUND)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = train(settings(f"teacher={{kind: file, source: {path}}}"), tmp_path / "out")
    train_pairs = [pair for pair in FOUND if roles[digest(pair.query["text"])] is Role.TRAIN]
    assert found.fitted.n_imitated == len(train_pairs)
    assert found.cost is None
    told = found.finished.bundle.manifest.metrics["training"]
    assert told["teacher"]["source"] == file_digest(path)


def test_a_run_whose_teacher_says_something_else_now_does_not_go_on(settings, tmp_path):
    """Its encoder would have imitated the one, and been finished as if it were the other."""
    path = tmp_path / "said.jsonl"
    rows = [{"query": pair.query["text"], "document": "new", "p_severe": 0.9} for pair in FOUND]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught = settings(f"teacher={{kind: file, source: {path}}}")
    with pytest.raises(Interrupted):
        train(taught, tmp_path / "out", on_stage=stopping("teacher", after=0))
    path.write_text("".join(json.dumps(row | {"p_severe": 0.1}) + "\n" for row in rows))
    with pytest.raises(DataRefused, match="begun with other settings, labels or code"):
        train(taught, tmp_path / "out", resume=True)


@pytest.fixture
def alone(tmp_path):
    """Labels of people, and of a judge on pairs that no person labelled."""
    of = pairs(70, 4)
    rows = [*by_people(FOUND, "ann", "bob"), *(row for row in by_judge(of) if row.pair >= len(FOUND))]
    return labels_file(tmp_path / "labels.jsonl", labels(of, *rows))


def test_a_judge_that_was_not_held_against_people_stops_a_run_and_leaves_nothing(settings, alone, tmp_path):
    said = refused(settings(paths=[alone]), tmp_path / "out", DataRefused, "not fit to train on: .*gpt")
    assert said.endswith("let it pass with --accept overlap")


def test_such_a_judge_is_left_out_where_that_is_accepted(made, settings, alone, tmp_path):
    """The audit let it pass, and training refused it all the same."""
    found = train(settings(paths=[alone]), tmp_path / "out", accept=["overlap"])
    told = found.finished.bundle.manifest.metrics["training"]
    assert found.accepted == ("overlap",)
    assert told["judges_left_out"] == {
        "gpt": "0 pairs drawn at random have labels of people too, 30 are needed"
    }
    assert told["labelled_pairs"] == made.fitted.to_json()["labelled_pairs"]
    assert "left out: gpt." in (found.finished.bundle.path / "README.md").read_text()


def test_labels_of_judges_alone_are_refused_whatever_is_accepted(settings, tmp_path):
    path = labels_file(tmp_path / "labels.jsonl", labels(FOUND, *by_judge(FOUND)))
    match = "no person has labelled any of them"
    said = refused(settings(paths=[path]), tmp_path / "out", DataRefused, match, accept=[*Kind])
    assert "let people label" in said
