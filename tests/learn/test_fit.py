"""A model of labels, by way of a teacher or without one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from actors.learn import fit as module
from actors.learn.finetune import fine_tune
from actors.learn.fit import Plan, fit
from actors.learn.loss import Goal
from actors.learn.recipe import Augmentation, Recipe, Teacher, TeacherKind
from actors.learn.roles import Role
from tests.label_sets import TEMPLATE, by_judge, by_people, labels, pairs, sample

FOUND = pairs(30, 4)
RECIPE = Recipe(batch_size=8, learning_rate=1e-2, head_learning_rate=1e-2)
FEW = Augmentation(mismatches=16, pseudo_queries=16, exclusions=4)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def of():
    return sample(labels(FOUND, *by_people(FOUND, "ann")))


@pytest.fixture(scope="module")
def plan(tiny_encoder):
    return Plan(str(tiny_encoder), TEMPLATE, RECIPE, Teacher(folds=2), FEW)


@pytest.fixture(scope="module")
def whole(of, plan, tmp_path_factory, one_thread):
    """What comes of a run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("fitted") / "whole"
    fit(of, folder, plan)
    return folder


@pytest.fixture(scope="module")
def alone(plan):
    return replace(plan, teacher=Teacher(TeacherKind.NONE))


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.fixture
def tuned(monkeypatch):
    """What was learned: the goal, and how many rows."""
    found = []

    def recorded(base, folder, rows, recipe, **given):
        found.append((rows.goal, len(rows)))
        fine_tune(base, folder, rows, recipe, **given)

    monkeypatch.setattr(module, "fine_tune", recorded)
    return found


def test_a_teacher_is_imitated_and_then_labels_are_learned(of, plan, tuned, tmp_path):
    stages = []

    def on_stage(name):
        steps = []
        stages.append((name, steps))
        return lambda done, total: steps.append((done, total))

    found = fit(of, tmp_path / "model", plan, on_stage=on_stage)
    n_train = len(of.people(Role.TRAIN))
    assert tuned == [(Goal.LOGIT, found.n_imitated), (Goal.PROBABILITY, n_train)]
    assert n_train + 30 <= found.n_imitated <= n_train + 36
    assert (found.n_by_source, found.n_made) == ({"human": n_train, "judge": 0, "weak": 0}, 0)
    assert [name for name, _ in stages] == ["teacher", "labels"]
    assert all(steps[-1][0] <= steps[-1][1] for _, steps in stages)
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files >= {"model.safetensors", "config.json", "tokenizer.json", "prior.json"}


def test_without_a_teacher_pairs_are_made_to_learn_from(of, alone, tuned, tmp_path):
    found = fit(of, tmp_path / "model", alone)
    n_train = len(of.people(Role.TRAIN))
    assert 16 <= found.n_made <= 20
    assert tuned == [(Goal.PROBABILITY, n_train + found.n_made)]
    assert found.n_imitated == 0
    assert (tmp_path / "model" / "prior.json").exists()


def test_the_prior_may_be_left_out(of, alone, tmp_path):
    fit(of, tmp_path / "model", replace(alone, prior=False))
    assert not (tmp_path / "model" / "prior.json").exists()


def test_no_epoch_of_labels_leaves_what_the_teacher_said(of, plan, tuned, tmp_path):
    states = tmp_path / "states"
    fit(of, tmp_path / "model", replace(plan, recipe=replace(RECIPE, epochs=0)), checkpoints=states)
    assert [goal for goal, _ in tuned] == [Goal.LOGIT]
    assert same(tmp_path / "model", states / "imitation")


def test_a_seed_names_the_weights(of, alone, tmp_path):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        fit(of, tmp_path / name, replace(alone, recipe=replace(RECIPE, seed=seed)))
    assert same(tmp_path / "one", tmp_path / "again")
    assert not same(tmp_path / "one", tmp_path / "other")


def test_labels_of_the_roles_that_judge_change_no_weight(of, alone, tmp_path):
    """Nor does what the model is told of them."""
    turned = {"good": "bad", "bad": "good"}
    rows = [
        row
        if of.role[row.pair] in {Role.TRAIN, Role.DEV}
        else replace(row, level=turned[row.level], p_severe=1 - row.p_severe)
        for row in of.labels.rows
    ]
    other = sample(labels(FOUND, *rows))
    assert other.role.tolist() == of.role.tolist()
    for name, one in (("model", of), ("other", other)):
        fit(one, tmp_path / name, alone)
    assert same(tmp_path / "model", tmp_path / "other")


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", ["its beginning", "its middle"])
def test_a_run_that_is_interrupted_after_the_imitation_does_not_imitate_again(
    of, plan, whole, tuned, tmp_path, at
):

    def on_stage(name):
        if name == "labels" and at == "its beginning":
            raise Interrupted

        def on_step(done, total):
            if name == "labels" and done > total / 2:
                raise Interrupted

        return on_step

    with pytest.raises(Interrupted):
        fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states", on_stage=on_stage)
    assert not (tmp_path / "model").exists()
    fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states")
    assert [goal for goal, _ in tuned].count(Goal.LOGIT) == 1
    assert same(tmp_path / "model", whole)


def test_an_imitation_that_was_interrupted_is_gone_on_with(of, plan, whole, tmp_path):
    steps = []

    def on_stage(name):
        def on_step(done, total):
            steps.append((name, done))
            if done > total / 2 and len(steps) < 20:
                raise Interrupted

        return on_step

    with pytest.raises(Interrupted):
        fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states", on_stage=on_stage)
    assert not (tmp_path / "states" / "imitation").exists()
    steps = [("interrupted", 0)] * 20
    fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states", on_stage=on_stage)
    assert next(done for name, done in steps if name == "teacher") > RECIPE.batch_size
    assert same(tmp_path / "model", whole)


def test_what_judges_were_taken_for_is_told_as_plain_data(alone, tmp_path):
    rows = [row for row in by_people(FOUND, "ann") if row.pair % 4 != 3]
    of = sample(labels(FOUND, *rows, *by_judge(FOUND)))
    found = fit(of, tmp_path / "model", alone)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["labelled_pairs"]["judge"] > 0
    assert told["judges"]["gpt"]["n"] >= 30
    assert {*told["judges"]["gpt"]["by_level"]} == {"good", "bad"}


def test_a_batch_may_be_larger_than_the_data_and_an_update_than_the_epoch(of, alone, tmp_path):
    recipe = replace(RECIPE, batch_size=512, accumulate=4, epochs=2)
    steps = []
    fit(
        of,
        tmp_path / "model",
        replace(alone, recipe=recipe),
        on_stage=lambda _: lambda done, total: steps.append(done / total),
    )
    assert steps == [0.5, 1.0]


@pytest.mark.parametrize(("accumulate", "n_updates"), [(1, 10), (2, 5), (3, 4)])
def test_so_many_batches_make_an_update_and_the_last_ones_are_not_lost(
    of, alone, tmp_path, accumulate, n_updates
):
    recipe = replace(RECIPE, accumulate=accumulate, batch_size=8)
    steps = []
    of_80 = sample(labels(FOUND[:80], *by_people(FOUND[:80], "ann")), shares={Role.TRAIN: 1.0})
    fit(
        of_80,
        tmp_path / "model",
        replace(alone, recipe=recipe, augment=Augmentation(0, 0, 0)),
        on_stage=lambda _: lambda done, total: steps.append((done, total)),
    )
    assert len(steps) == n_updates
    assert steps[-1] == (80, 80)
