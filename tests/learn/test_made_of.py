from __future__ import annotations

from dataclasses import replace

from actors.learn.made_of import describe_labels, describe_origin, describe_student, describe_training
from actors.manifest import RoleCount
from tests.learn.measured import MANIFEST, MEASURED

TRAINING = {"labelled_pairs": {"human": 2191, "judge": 900}, "made_pairs": 14_000, "imitated_pairs": 0}
AGREEMENT = {
    "krippendorff_alpha": 0.8123,
    "pairs_labelled_twice": 1_480,
    "conflicts": 12,
    "pairs_of_one_person": 2_000,
}


def test_a_role_that_nobody_had_is_not_told_of():
    """A role without a pair was said to have stopped a training early."""
    text = describe_labels(replace(MANIFEST, roles=dict(MANIFEST.roles) | {"dev": RoleCount(0, 0, 0)}))

    assert "| train | 1,000 | 100 | 20 | the encoder learned from it |" in text
    assert "| dev |" not in text


def test_how_far_people_agree_is_told_where_it_is_known():
    def told(**changes):
        metrics = {"training": {"agreement": AGREEMENT | changes}}
        return describe_labels(replace(MANIFEST, metrics=metrics))

    assert "Krippendorff's alpha of 0.812 (1 is full agreement, 0 is chance) on the 1,480 pairs" in told()
    assert "nobody settled: 12; pairs that rest on one person's word: 2,000." in told()
    assert "agree is not known: no pair was labelled by two. Pairs" in told(krippendorff_alpha=None)
    assert "agree" not in describe_labels(MANIFEST)


def test_what_was_learned_from_and_what_somebody_let_pass_is_told():
    how = {"base": "owner/encoder", "recipe": {"epochs": 1}, "teacher": {"kind": "features"}}
    judges = {"judges_left_out": {"gpt | 4": "too few", **{f"call {i}": "too few" for i in range(9)}}}
    text = describe_training(TRAINING | how | judges | {"accepted": ["leakage"]})

    assert "| labels: judge | 900 |" in text
    assert "| made from them | 14,000 |" in text
    assert "**Problems of the labels that somebody let pass: leakage.**" in text
    assert "Base: `owner/encoder`; teacher: features; recipe" in text
    assert "were left out: gpt \\| 4, call 0, call 1, call 2, call 3 and 5 more." in text
    assert "let pass" not in describe_training(TRAINING)


def test_what_distillation_cost_is_told():
    auc = MEASURED.figures["auc"]
    cost = {
        "teacher": "sha256:345",
        "parameters": 22_000_000,
        "parameters_of_teacher": 110_000_000,
        "n_pairs": 200,
        "differences": {"auc": auc.to_json() | {"p": 0.2}},
    }
    text = describe_student(cost)

    assert "22,000,000 parameters of the teacher's 110,000,000; teacher `sha256:345`" in text
    assert f"| AUC | {auc} |" in text


def test_what_nobody_did_has_no_section():
    assert (describe_training({}), describe_student({})) == ("", "")
    bare = describe_origin(replace(MANIFEST, code="", parent=None))
    assert "Code" not in bare + describe_labels(MANIFEST)
    assert "Parent" not in bare
