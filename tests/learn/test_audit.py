from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn.audit import Kind, audit, refuse_unless_accepted
from actors.learn.labels import Columns, Label, Pair, Sampling, Source, read_labels
from actors.learn.roles import SHARES, Role
from actors.learn.sample import Sample
from actors.pairs import PairTemplate, Part
from actors.rubric import Rubric
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample

ALL_TRAIN = {role: float(role is Role.TRAIN) for role in Role}


def audited(of: list[Pair], *rows: Label, shares=SHARES):
    found = labels(of, *rows)
    return audit(found, sample(found, shares=shares), source="labels.parquet")


def kinds(found):
    return {problem.kind for problem in found.blocking}


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
    assert report["notes"] == ["nobody used the levels odd"]


def test_a_judge_that_nobody_checked_blocks():
    of = pairs()
    found = audited(of, *by_people(of[:300]), *by_judge(of, name="gpt", n=360)[290:])

    assert kinds(found) == {Kind.OVERLAP}
    (problem,) = found.blocking
    assert "judge gpt" in problem.said
    assert "10 of a random sample" in problem.said
    assert "let people label 20 more" in problem.what_to_do


def test_an_overlap_of_one_kind_blocks():
    of = pairs()
    said = [i for i in range(len(of)) if i % 3][:60]
    found = audited(of, *by_people(of), *(label(i, "good", "gpt", source=Source.JUDGE) for i in said))

    assert kinds(found) == {Kind.OVERLAP}
    assert "people say the same of all 60 pairs" in found.blocking[0].said


def test_people_or_a_judge_who_toss_coins_block():
    of = pairs()
    coins = [replace(row, source=Source.HUMAN, annotator="bob") for row in by_judge(of, right=0.0)]

    assert kinds(audited(of, *by_people(of), *coins)) == {Kind.CHANCE}
    assert kinds(audited(of, *by_people(of), *by_judge(of, right=0.0))) == {Kind.CHANCE}


def test_what_a_later_role_knows_beforehand_blocks():
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    twins = [
        replace(one, query={"text": one.query["text"] + "s"}, cluster=f"{i // 6}s")
        for i, one in enumerate(of)
    ]
    queries = audited([*of, *twins], *by_people([*of, *twins]))
    same = [replace(one, document={"text": f"thing {i % 6}"}) for i, one in enumerate(pairs())]
    documents = audited(same, *(label(i, "bad" if i % 3 == 0 else "good") for i in range(len(same))))

    for found, what in ((queries, "query alike"), (documents, "document that")):
        assert kinds(found) == {Kind.LEAKAGE}
        assert any(what in problem.said for problem in found.blocking)
    assert any("alike queries are in several roles" in note for note in queries.notes)


def test_a_role_with_one_kind_of_pairs_blocks():
    of = pairs()
    first = sample(labels(of, *by_people(of)))
    rows = [
        label(i, "good" if first.role[i] == Role.MAP else row.level) for i, row in enumerate(by_people(of))
    ]
    found = audited(of, *rows)

    assert kinds(found) == {Kind.SINGLE_CLASS}
    assert f"pairs of {Role.MAP} are not severe" in found.blocking[0].said


def test_too_few_clusters_block_and_each_role_is_counted():
    of = pairs(n_clusters=1)
    found = audited(of, *by_people(of), shares=ALL_TRAIN)
    blocked = audit(labels(of, *by_people(of)), sample(labels(of, *by_people(of)), shares=ALL_TRAIN))

    assert kinds(found) == kinds(blocked) == {Kind.CLUSTERS}
    assert "train 1, dev 0, map 0, threshold 0, test 0" in found.blocking[0].said


def test_a_role_without_a_share_needs_no_cluster():
    of = pairs()
    found = labels(of, *by_people(of))

    assert audit(found, sample(found, shares=ALL_TRAIN), shares=ALL_TRAIN).blocking == ()


def test_labels_of_a_judge_alone_block():
    of = pairs()
    found = audited(of, *by_judge(of), shares=ALL_TRAIN)

    assert kinds(found) == {Kind.OVERLAP, Kind.CLUSTERS}
    assert found.n_settled == 0
    json.dumps(found.to_json(), allow_nan=False)


def test_pairs_chosen_by_score_carry_nothing_but_training():
    of = pairs()
    rows = [replace(row, sampling=Sampling.BY_SCORE) for row in by_people(of)]

    assert kinds(audited(of, *rows, shares=ALL_TRAIN)) == {Kind.CLUSTERS}


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
