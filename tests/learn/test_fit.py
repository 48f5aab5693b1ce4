"""A model of labels, by way of a teacher or without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

from actors.learn import fit as module
from actors.learn.finetune import fine_tune
from actors.learn.fit import Fitted, Plan, fit
from actors.learn.loss import Goal
from actors.learn.recipe import Augmentation, Recipe, Teacher, TeacherKind
from actors.learn.roles import Role
from tests.label_sets import TEMPLATE, by_judge, by_people, labels, pairs, sample

FOUND = pairs(30, 4)
RECIPE = Recipe(batch_size=8, learning_rate=1e-2, head_learning_rate=1e-2, looks=3)
FEW = Augmentation(mismatches=16, pseudo_queries=16, exclusions=4)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def of():
    return sample(labels(FOUND, *by_people(FOUND, "ann")))


@pytest.fixture(scope="module")
def plan(tiny_encoder):
    return Plan(str(tiny_encoder), TEMPLATE, RECIPE, Teacher(folds=2), FEW)


@pytest.fixture(scope="module")
def alone(plan):
    return replace(plan, teacher=Teacher(TeacherKind.NONE))


class Run(NamedTuple):
    """One that nobody interrupts, and what was seen of it."""

    folder: Path
    states: Path
    found: Fitted
    tuned: list[tuple[Goal, int]]
    """What was learned: the goal, and how many rows."""
    stages: list[tuple[str, list[tuple[int, int]]]]


@pytest.fixture(scope="module")
def whole(of, plan, tmp_path_factory, one_thread):
    """With a teacher."""
    return watched(of, plan, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def whole_alone(of, alone, tmp_path_factory, one_thread):
    """Without one."""
    return watched(of, alone, tmp_path_factory.mktemp("alone"))


def watched(of, plan, folder) -> Run:
    stages = []

    def on_stage(name):
        steps = []
        stages.append((name, steps))
        return lambda done, total: steps.append((done, total))

    with pytest.MonkeyPatch.context() as patch:
        tuned = recorded(patch)
        found = fit(of, folder / "model", plan, checkpoints=folder / "states", on_stage=on_stage)
    return Run(folder / "model", folder / "states", found, tuned, stages)


def recorded(monkeypatch):
    """What is learned from here on."""
    found = []

    def tune(base, folder, rows, recipe, **given):
        found.append((rows.goal, len(rows)))
        fine_tune(base, folder, rows, recipe, **given)

    monkeypatch.setattr(module, "fine_tune", tune)
    return found


@pytest.fixture
def tuned(monkeypatch):
    return recorded(monkeypatch)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_a_teacher_is_imitated_and_then_labels_are_learned(of, whole):
    found = whole.found
    n_train = len(of.people(Role.TRAIN))
    assert whole.tuned == [(Goal.LOGIT, found.n_imitated), (Goal.PROBABILITY, n_train)]
    assert n_train + 30 <= found.n_imitated <= n_train + 36
    assert (found.n_by_source, found.n_made) == ({"human": n_train, "judge": 0, "weak": 0}, 0)
    assert [name for name, _ in whole.stages] == ["teacher", "labels"]
    assert all(steps[-1][0] <= steps[-1][1] for _, steps in whole.stages)
    files = {path.name for path in whole.folder.iterdir()}
    assert files >= {"model.safetensors", "config.json", "tokenizer.json", "prior.json"}


def test_without_a_teacher_pairs_are_made_to_learn_from(of, whole_alone):
    found = whole_alone.found
    n_train = len(of.people(Role.TRAIN))
    assert 16 <= found.n_made <= 20
    assert whole_alone.tuned == [(Goal.PROBABILITY, n_train + found.n_made)]
    assert found.n_imitated == 0
    assert (whole_alone.folder / "prior.json").exists()


def test_the_prior_may_be_left_out(of, alone, tmp_path):
    fit(of, tmp_path / "model", replace(alone, prior=False))
    assert not (tmp_path / "model" / "prior.json").exists()


def test_no_epoch_of_labels_leaves_what_the_teacher_said(of, plan, tuned, tmp_path):
    states = tmp_path / "states"
    fit(of, tmp_path / "model", replace(plan, recipe=replace(RECIPE, epochs=0)), checkpoints=states)
    assert [goal for goal, _ in tuned] == [Goal.LOGIT]
    assert same(tmp_path / "model", states / "imitation")


def test_a_seed_names_the_weights(of, alone, whole_alone, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        fit(of, tmp_path / name, replace(alone, recipe=replace(RECIPE, seed=seed)))
    assert same(whole_alone.folder, tmp_path / "again")
    assert not same(whole_alone.folder, tmp_path / "other")


def test_labels_of_the_roles_that_judge_change_no_weight(of, alone, whole_alone, tmp_path):
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
    fit(other, tmp_path / "other", alone)
    assert same(whole_alone.folder, tmp_path / "other")


class Interrupted(Exception):
    pass


def test_a_run_that_is_interrupted_after_the_imitation_does_not_imitate_again(
    of, plan, whole, tuned, tmp_path
):
    """Neither where it was before its labels, nor where it was amid them."""

    def at_the_beginning(name):
        if name == "labels":
            raise Interrupted
        return lambda done, total: None

    def in_the_middle(name):
        def on_step(done, total):
            if name == "labels" and done > total / 2:
                raise Interrupted

        return on_step

    for on_stage in (at_the_beginning, in_the_middle):
        with pytest.raises(Interrupted):
            fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states", on_stage=on_stage)
        assert not (tmp_path / "model").exists()
    fit(of, tmp_path / "model", plan, checkpoints=tmp_path / "states")
    assert [goal for goal, _ in tuned] == [Goal.LOGIT, Goal.PROBABILITY, Goal.PROBABILITY]
    assert same(tmp_path / "model", whole.folder)


def test_an_imitation_that_was_interrupted_is_gone_on_with(of, plan, whole, tmp_path):
    steps = []
    imitation = replace(plan, recipe=replace(RECIPE, epochs=0))

    def on_stage(name):
        def on_step(done, total):
            steps.append((name, done))
            if done > total / 2 and len(steps) < 20:
                raise Interrupted

        return on_step

    with pytest.raises(Interrupted):
        fit(of, tmp_path / "model", imitation, checkpoints=tmp_path / "states", on_stage=on_stage)
    assert not (tmp_path / "states" / "imitation").exists()
    steps = [("interrupted", 0)] * 20
    fit(of, tmp_path / "model", imitation, checkpoints=tmp_path / "states", on_stage=on_stage)
    assert next(done for name, done in steps if name == "teacher") > RECIPE.batch_size
    assert same(tmp_path / "model", whole.states / "imitation")


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
