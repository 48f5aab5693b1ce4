from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn.audit import audit, refuse_unless_accepted
from actors.learn.labels import Columns, Label, Pair
from actors.learn.problems import Kind
from actors.learn.reading import read_labels
from actors.learn.roles import SHARES, Role
from actors.learn.sample import Sample
from actors.pairs import PairTemplate, Part
from actors.rubric import Rubric
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample

ALL_TRAIN = {role: float(role is Role.TRAIN) for role in Role}


def audited(of: list[Pair], *rows: Label, shares=SHARES):
    found = labels(of, *rows)
    return audit(found, sample(found, shares=shares), source="labels.parquet")


def test_sound_labels_are_in_nobodys_way():
    of = pairs()
    found = audited(of, *by_people(of, "ann", "bob"), *by_judge(of, right=0.9))

    assert found.blocking == ()
    refuse_unless_accepted(found)
    report = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert report["pairs"] == report["pairs_settled_by_people"] == 360
    assert report["labels_by_source"] == {"human": 720, "judge": 360}
    assert report["annotators_by_source"] == {"human": 2, "judge": 1}
    assert report["clusters"]["n"] == 60
    assert report["clusters"]["pairs_per_cluster"] == {"least": 6, "median": 6, "mean": 6, "most": 6}
    assert report["agreement"]["krippendorff_alpha"] == 1
    assert report["blocking"] == report["accepted"] == []
    assert report["severe_levels"] == ["bad"]
    assert report["notes"] == ["levels that nobody used: odd"]


def test_labels_of_a_judge_alone_are_reported_without_what_people_say():
    of = pairs()
    found = audited(of, *by_judge(of), shares=ALL_TRAIN)

    report = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert report["pairs_settled_by_people"] == 0
    assert report["by_role"] == report["by_segment"] == {}
    assert report["likely_wrong_labels"]["n"] == 0


def test_a_role_without_a_share_needs_no_cluster():
    of = pairs()
    found = labels(of, *by_people(of))

    assert audit(found, sample(found, shares=ALL_TRAIN), shares=ALL_TRAIN).blocking == ()


def test_what_is_no_problem_is_noted():
    of = pairs()
    rows = [*by_people(of), label(0, "good"), label(1, "bad")]
    found = audited(of, *rows)

    assert found.notes[0].startswith("no pair was labelled by two people")
    assert found.notes[1].startswith("360 pairs rest on the word of one person")
    assert found.notes[2].startswith("2 labels are of a pair")
    assert "levels that nobody used: odd" in found.notes


def test_one_line_names_all_that_stands_and_how_to_let_it_pass():
    of = pairs()
    found = audited(of, *by_judge(of), shares=ALL_TRAIN)
    with pytest.raises(DataRefused) as refusal:
        refuse_unless_accepted(found)

    said = str(refusal.value)
    assert said.startswith("labels.parquet: ")
    assert "\n" not in said
    assert "--accept overlap --accept clusters" in said
    with pytest.raises(DataRefused, match="clusters") as refusal:
        refuse_unless_accepted(found, ["overlap"])
    assert "--accept overlap" not in str(refusal.value)
    refuse_unless_accepted(found, ["overlap", "clusters"])
    refuse_unless_accepted(found.accepting(["overlap"]), ["clusters"])


def test_what_is_accepted_is_recorded():
    of = pairs()
    found = audited(of, *by_judge(of), shares=ALL_TRAIN).accepting([Kind.OVERLAP])

    report = found.to_json()
    assert report["accepted"] == ["overlap"]
    assert {one["kind"]: one["accepted"] for one in report["blocking"]} == {
        "overlap": True,
        "clusters": False,
    }
    assert {one.kind for one in found.standing} == {Kind.CLUSTERS}


def test_equal_labels_give_an_equal_report():
    of = pairs()
    rows = *by_people(of, "ann", "bob"), *by_judge(of, right=0.8)

    assert audited(of, *rows).to_json() == audited(of, *rows).to_json()


def test_labels_out_of_fold_of_the_data_are_taken():
    of = pairs()
    found = labels(of, *by_people(of))
    said = audit(found, sample(found), p_severe=np.full(len(of), 0.5))

    assert "in the data" in said.suspected.basis


def test_real_shopping_pairs_pass_and_show_what_to_look_at(shopping_pairs: Path):
    rubric = Rubric({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}, frozenset({"I"}))
    columns = Columns(document={"title": "title", "brand": "brand"}, level="esci_label")
    found = read_labels([shopping_pairs], columns, rubric)
    said = audit(found, Sample.of(found, PairTemplate(document=(Part("title"), Part("brand")))))

    assert said.blocking == ()
    assert said.n_pairs == 4866
    assert said.suspected.auc.low > 0.65
    assert 0 < said.suspected.found.n < 1000
    assert 5 <= said.repeats.contradicting.n <= 20
    assert 20 < said.leakage.documents.n < 60
    assert set(said.by_role) == {role.value for role in Role}
    assert len(json.dumps(said.to_json())) < 100_000
