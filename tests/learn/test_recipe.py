from __future__ import annotations

import pytest

from actors.learn.recipe import Augmentation, Recipe, Teacher, TeacherKind


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"epochs": -1},
        {"batch_size": 0},
        {"accumulate": 0},
        {"looks": 0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"head_learning_rate": -1.0},
        {"warmup_share": 1.0},
        {"warmup_share": -0.1},
        {"judge_weight": 0.0},
        {"weak_weight": 0.0},
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(ValueError, match="a recipe needs"):
        Recipe(**wrong)


def test_no_epoch_learns_from_the_teacher_alone():
    assert Recipe(epochs=0).epochs == 0


@pytest.mark.parametrize("kind", TeacherKind)
def test_a_source_goes_with_a_bundle_or_a_file_and_with_nothing_else(kind):
    has_source = kind in {TeacherKind.BUNDLE, TeacherKind.FILE}
    assert Teacher(kind, source="there" if has_source else None).kind is kind
    with pytest.raises(ValueError, match=f"not with {kind}|goes with the kinds bundle and file"):
        Teacher(kind, source=None if has_source else "there")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"folds": 1}, {"label_rate": 0.0}, {"label_share": 1.1}])
def test_a_teacher_that_cannot_teach_is_refused(wrong):
    with pytest.raises(ValueError, match="a teacher needs"):
        Teacher(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mismatches": -1},
        {"pseudo_queries": -1},
        {"exclusions": -1},
        {"dropped_fields": 1.0},
        {"dropped_fields": -0.1},
    ],
)
def test_counts_and_chances_of_what_is_made_are_refused_below_nothing(wrong):
    with pytest.raises(ValueError, match="augmentation needs"):
        Augmentation(**wrong)
