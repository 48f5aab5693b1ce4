from __future__ import annotations

from pathlib import Path

import pytest

from actors.learn.recipe import TeacherKind
from actors.learn.roles import Role
from pipeline.errors import SettingsError
from pipeline.learn_settings import LearnSettings, load_learn

CONFIG = Path(__file__).parents[1] / "configs" / "train.yaml"


def test_the_example_is_read() -> None:
    settings = load_learn(CONFIG)
    assert settings.model.name == "my-gate"
    assert settings.teacher.kind is TeacherKind.FEATURES
    assert settings.labels.rubric.severe == {"severe"}
    assert [part.field for part in settings.model.template.document] == ["title"]


def test_without_a_file_the_defaults_hold() -> None:
    assert load_learn(None) == LearnSettings()


def test_a_part_of_a_group_leaves_the_rest_of_it() -> None:
    settings = load_learn(
        None, ["policy.wish.target=0.9", "recipe.epochs=3", "labels.shares={train: 1, test: 1}"]
    )
    assert (settings.policy.wish.target, settings.policy.wish.confidence) == (0.9, 0.95)
    assert settings.recipe.epochs == 3
    assert settings.labels.shares == {Role.TRAIN: 1, Role.TEST: 1}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe.epochs=-1", "recipe: a recipe needs counts"),
        ("recipe.nope=1", "recipe.nope: there is no such setting"),
        ("nope=1", "nope: there is no such setting"),
        ("policy.wish.target=2", "policy.wish: target 2.0 and confidence 0.95 must be above 0 and below 1"),
        ("labels.columns.queri={}", "labels.columns.queri: there is no such setting"),
        ("labels.rubric.severe=[other]", "labels.rubric: a rubric needs severe levels"),
        ("teacher.kind=bundle", "teacher: teacher.source goes with"),
        ("teacher.folds=1", "teacher: a teacher needs"),
        ("augment.dropped_fields=1", "augment: augmentation needs"),
        ("labels.shares={train: 0}", "labels.shares: at least one role needs a share"),
        ("labels.shares={}", "labels.shares: at least one role needs a share"),
        ("recipe.learning_rate=.nan", "recipe.learning_rate: Input should be a finite number"),
        ("teacher.label_rate=.inf", "teacher.label_rate: Input should be a finite number"),
        ("policy.wish.confidence=.nan", "policy.wish.confidence: Input should be a finite number"),
        ("labels.shares={train: .inf}", "labels.shares.train: Input should be a finite number"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(override: str, said: str) -> None:
    with pytest.raises(SettingsError, match="--set") as refused:
        load_learn(CONFIG, [override])
    assert str(refused.value).startswith(said)
