from __future__ import annotations

import json

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.distilled import cost_of, unseen_by
from actors.learn.draft import Told, write_draft
from actors.learn.roles import ROLES_FILE, Role, Roles, digest
from actors.pairs import PairTemplate
from actors.rubric import SEVERE_OR_NOT
from tests.label_sets import by_people, labels, pairs, sample
from tests.model_folders import minilm_classifier

FOUND = pairs(60, 4)


@pytest.fixture(scope="module")
def of():
    return sample(labels(FOUND, *by_people(FOUND, "ann")))


@pytest.fixture(scope="module")
def student(tiny_encoder, tmp_path_factory):
    told = Told("student", PairTemplate(), 32, SEVERE_OR_NOT, "none")
    return write_draft(tmp_path_factory.mktemp("bundles") / "student", tiny_encoder, told)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    told = Told("teacher", PairTemplate(), 32, SEVERE_OR_NOT, "none")
    model = minilm_classifier(tmp_path_factory.mktemp("model"))
    return write_draft(tmp_path_factory.mktemp("bundles") / "teacher", model, told)


@pytest.fixture
def truthful(monkeypatch, teacher):
    """The teacher always says what people do; the student says the opposite of a third of it."""

    def logits(path, queries, documents, *, source):
        severe = np.array([q["text"] not in d["text"] for q, d in zip(queries, documents, strict=True)])
        noise = np.linspace(0, 0.1, len(severe))
        right = severe if path == teacher.path else severe ^ (np.arange(len(severe)) % 3 == 0)
        return np.where(right, 2.0, -2.0) + noise

    monkeypatch.setattr(apply, "logits", logits)


def test_a_student_is_compared_with_its_teacher_in_figures_and_in_size(of, student, teacher, truthful):
    found = cost_of(student, teacher.path, of)
    auc = found.differences["auc"]
    assert auc.value < -0.1
    assert auc.high < 0
    assert found.n_pairs == len(of.people(Role.TEST))
    assert found.teacher == teacher.digest
    assert 22_000_000 < found.n_parameters_teacher < 23_000_000
    assert found.n_parameters < 600_000
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["parameters"] == found.n_parameters
    assert told["differences"]["auc"]["value"] == auc.value


@pytest.mark.usefixtures("truthful")
def test_a_bundle_loses_nothing_against_itself(of, teacher):
    found = cost_of(teacher, teacher.path, of)
    assert found.differences["auc"].value == 0
    assert found.n_parameters == found.n_parameters_teacher


def knows(folder, of, role, n):
    """The teacher gave the first queries of the role test another role."""
    texts = sorted({*of.people(Role.TEST).query.tolist()})
    (folder / ROLES_FILE).write_bytes(Roles({digest(text): role for text in texts[:n]}).to_bytes())
    return texts


@pytest.mark.parametrize("role", [Role.TRAIN, Role.DEV, Role.MAP, Role.THRESHOLD])
def test_what_the_teacher_has_used_does_not_judge_its_student(of, tmp_path, role):
    texts = knows(tmp_path, of, role, 2)
    assert {*unseen_by(tmp_path, of).query.tolist()} == {*texts[2:]}


def test_what_judged_the_teacher_judges_its_student(of, tmp_path):
    knows(tmp_path, of, Role.TEST, 2)
    assert len(unseen_by(tmp_path, of)) == len(of.people(Role.TEST))


def test_a_teacher_without_recorded_roles_is_believed(of, tmp_path):
    assert len(unseen_by(tmp_path, of)) == len(of.people(Role.TEST))


def test_a_teacher_that_has_used_all_is_refused(of, tmp_path):
    knows(tmp_path, of, Role.TRAIN, None)
    with pytest.raises(DataRefused, match="it has used every pair of the role test"):
        unseen_by(tmp_path, of)
