"""Whom a lesson is from, and what must never be in one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from actors.errors import DataRefused
from actors.learn import apply, lesson
from actors.learn.features import Encoder
from actors.learn.labels import Columns
from actors.learn.lesson import Setting, prepare_lesson
from actors.learn.recipe import Augmentation, Teacher, TeacherKind
from actors.learn.roles import ROLES_FILE, Role, Roles, digest
from tests.label_sets import TEMPLATE, by_judge, by_people, labels, pairs, sample

JUDGING = (Role.MAP, Role.THRESHOLD, Role.TEST)
MADE = Augmentation(mismatches=60, pseudo_queries=30, exclusions=10)
FOUND = pairs(50, 4)
LONELY = 20
"""The last pairs, that no person labelled: a judge did."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def of():
    rows = [row for row in by_people(FOUND, "ann") if row.pair < len(FOUND) - LONELY]
    return sample(labels(FOUND, *rows, *by_judge(FOUND)))


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return Encoder(tiny_encoder)


@pytest.fixture
def setting(tiny_encoder):
    def make(kind, source=None, *, label_share=0.5, **changes):
        told = None if source is None else str(source)
        teacher = Teacher(kind, source=told, folds=2, label_share=label_share)
        return Setting(teacher, TEMPLATE, str(tiny_encoder), MADE, **changes)

    return make


def texts(taught, side):
    return {one["text"] for one in getattr(taught, side)}


def of_roles(of, *roles, side="query"):
    return {getattr(of, side)[i] for i in np.flatnonzero(np.isin(of.role, [str(role) for role in roles]))}


def assert_nothing_of_what_judges(found, of):
    """And of `dev` only what tells when to stop."""
    assert of_roles(of, *JUDGING)
    for side, plural in (("query", "queries"), ("document", "documents")):
        assert not texts(found.pairs, plural) & of_roles(of, *JUDGING, Role.DEV, side=side)
        assert texts(found.held_out, plural) <= of_roles(of, Role.DEV, side=side)


def test_nobody_teaches_nothing(of, setting, encoder):
    assert prepare_lesson(of, setting(TeacherKind.NONE), encoder) is None


def test_features_score_all_pairs_of_the_role_train_and_others_that_are_made(of, setting, encoder):
    found = prepare_lesson(of, setting(TeacherKind.FEATURES), encoder)
    people = of.people(Role.TRAIN)
    scored = {(q["text"], d["text"]) for q, d in zip(found.pairs.queries, found.pairs.documents, strict=True)}
    expected = {(of.query[i], of.document[i]) for i in np.flatnonzero(of.role == Role.TRAIN)}

    assert expected <= scored
    assert len(expected) + 90 <= len(found.pairs) <= len(expected) + 100
    assert roc_auc_score(people.severe, found.pairs.logit[: len(people)]) > 0.9
    assert len(found.held_out) == len(of.people(Role.DEV))
    assert_nothing_of_what_judges(found, of)


def test_a_labelled_pair_is_to_be_between_what_the_teacher_and_what_people_say(of, setting, encoder):
    people = of.people(Role.TRAIN)
    none, half, all_of_it = (
        prepare_lesson(of, setting(TeacherKind.FEATURES, label_share=share), encoder).pairs.logit
        for share in (0.0, 0.5, 1.0)
    )
    n = len(people)
    np.testing.assert_allclose(half, (none + all_of_it) / 2)
    assert set(all_of_it[:n].tolist()) == {-2.5, 2.5}
    assert np.array_equal(all_of_it[:n] > 0, people.severe)
    np.testing.assert_array_equal(none[n:], all_of_it[n:])


def test_what_is_made_is_no_pair_of_the_labels(of, setting, encoder, monkeypatch):
    """A document is often labelled for the query that it is near."""
    made, kept = [], []
    unlabelled = lesson._unlabelled

    def recorded(couples, *rest):
        made.extend((query["text"], document["text"]) for query, document in couples)
        found = unlabelled(couples, *rest)
        kept.extend((query["text"], document["text"]) for query, document in found)
        return found

    monkeypatch.setattr(lesson, "_unlabelled", recorded)
    many = replace(setting(TeacherKind.FEATURES), augment=Augmentation(400, 30, 10))
    found = prepare_lesson(of, many, encoder)
    labelled = {*zip(of.query, of.document, strict=True)}
    n_labelled = sum(pair in labelled for pair in made)

    assert n_labelled > 5
    assert not labelled & {*kept}
    assert len(kept) == len(made) - n_labelled
    assert len(found.pairs) == (of.role == Role.TRAIN).sum() + len(kept)


def test_what_is_made_asks_nothing_that_a_role_asks_which_judges(of):
    """However it is spelled: a pseudo-query may come out as somebody's."""
    new = ({"text": "something new"}, {"text": "a thing"})
    asked = [{"text": spelled(min(of_roles(of, role)))} for role in JUDGING for spelled in (str, str.upper)]
    trained = ({"text": min(of_roles(of, Role.TRAIN))}, {"text": "a thing"})
    made = [new, *((query, {"text": "a thing"}) for query in asked), trained]
    assert lesson._unlabelled(made, of, TEMPLATE) == [new, trained]


def test_what_is_made_asks_nothing_that_judges_by_an_earlier_bundle_though_no_label_is_of_it(of):
    """Its role stays with it: labels of it that come later may judge what learned from it."""
    known = Roles({**of.roles.by_query, digest("an earlier query"): Role.TEST})
    made = [({"text": text}, {"text": "a thing"}) for text in ("something new", "an earlier query")]
    assert lesson._unlabelled(made, replace(of, roles=known), TEMPLATE) == made[:1]


def test_no_label_of_a_role_that_judges_changes_a_lesson_of_features(of, setting, encoder):
    turned = [
        row if of.role[row.pair] in {Role.TRAIN, Role.DEV} else turned_round(row) for row in of.labels.rows
    ]
    other = sample(labels(FOUND, *turned))
    assert other.role.tolist() == of.role.tolist()
    one, same = (prepare_lesson(each, setting(TeacherKind.FEATURES), encoder) for each in (of, other))
    assert one.pairs.logit.tolist() == same.pairs.logit.tolist()
    assert (one.prior.weights, one.prior.intercept) == (same.prior.weights, same.prior.intercept)


def turned_round(row):
    level = {"good": "bad", "bad": "good"}[row.level]
    return replace(row, level=level, p_severe=float(level == "bad"))


def test_a_seed_names_a_lesson(of, setting, encoder):
    one, again, other = (
        prepare_lesson(of, setting(TeacherKind.FEATURES, seed=seed), encoder) for seed in (0, 0, 1)
    )
    assert one.pairs.logit.tolist() == again.pairs.logit.tolist()
    assert [*one.pairs.queries] == [*again.pairs.queries] != [*other.pairs.queries]


@pytest.fixture
def asked(monkeypatch):
    """The pairs that a bundle was asked to score; it says their number."""
    found = []

    def logits(path, queries, documents, *, source):
        found.append([(q["text"], d["text"]) for q, d in zip(queries, documents, strict=True)])
        return np.arange(len(queries), dtype=np.float64)

    monkeypatch.setattr(apply, "logits", logits)
    return found


def test_a_bundle_scores_pairs_of_the_role_train_and_those_that_are_made(
    of, setting, encoder, asked, tmp_path
):
    found = prepare_lesson(of, setting(TeacherKind.BUNDLE, tmp_path), encoder)
    train = {(of.query[i], of.document[i]) for i in np.flatnonzero(of.role == Role.TRAIN)}
    assert {*asked[0]} >= train
    assert found.pairs.logit.tolist() == [*range(len(found.pairs))]
    assert found.held_out.logit.tolist() == [*range(len(found.pairs), len(asked[0]))]
    assert_nothing_of_what_judges(found, of)


def test_a_bundle_does_not_repeat_labels_that_it_learned_from(
    of, setting, encoder, asked, tmp_path, monkeypatch
):
    monkeypatch.setattr(lesson, "_made", lambda *_: [])
    before = {
        text: (Role.TRAIN, Role.DEV, Role.TEST)[i % 3] for i, text in enumerate(sorted({*of.roles.by_query}))
    }
    (tmp_path / ROLES_FILE).write_bytes(Roles(before).to_bytes())
    found = prepare_lesson(of, setting(TeacherKind.BUNDLE, tmp_path), encoder)
    learned = Roles(before).inherit(of.query, of.cluster)
    expected = [
        of.query[i]
        for i in np.flatnonzero(of.role == Role.TRAIN).tolist()
        if learned[i] not in {Role.TRAIN, Role.DEV}
    ]
    assert expected
    assert [one["text"] for one in found.pairs.queries] == expected


def test_a_bundle_that_has_nothing_to_say_is_refused(of, setting, encoder, asked, tmp_path):
    """It was a traceback, where it knows every pair and nothing is made for it."""
    (tmp_path / ROLES_FILE).write_bytes(of.roles.to_bytes())
    nothing = replace(setting(TeacherKind.BUNDLE, tmp_path), augment=Augmentation(0, 0, 0))
    with pytest.raises(
        DataRefused, match="learned from every pair of the role train, and augment makes none"
    ):
        prepare_lesson(of, nothing, encoder)


def test_a_bundle_does_not_tell_when_to_stop_by_what_it_learned_from(of, setting, encoder, asked, tmp_path):
    """What it remembers says when its memory is copied, not when to stop."""
    dev = of.people(Role.DEV)
    texts_of_dev = sorted({*dev.query.tolist()})
    before = dict(zip(texts_of_dev, [Role.TRAIN, Role.DEV, Role.TEST] * len(texts_of_dev), strict=False))
    roles = Roles({digest(text): role for text, role in before.items()})
    (tmp_path / ROLES_FILE).write_bytes(roles.to_bytes())
    found = prepare_lesson(of, setting(TeacherKind.BUNDLE, tmp_path), encoder)
    assert {*before.values()} == {Role.TRAIN, Role.DEV, Role.TEST}
    assert texts(found.held_out, "queries") == {text for text, role in before.items() if role is Role.TEST}
    assert found.held_out.logit.tolist() == [*range(len(found.pairs), len(asked[0]))]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(query, document, p):
    return {"query": query, "document": document, "p_severe": p}


def test_a_file_is_a_teacher(of, setting, tmp_path):
    train, dev = (min(of_roles(of, role)) for role in (Role.TRAIN, Role.DEV))
    path = write(
        tmp_path / "said.jsonl",
        [
            row(train, "a", 0.5),
            row(train, "b", 0.9),
            row(train, "b", 0.7),
            row("something new", "c", 1),
            row(dev, "d", 0),
        ],
    )
    found = prepare_lesson(of, setting(TeacherKind.FILE, path))
    assert [one["text"] for one in found.pairs.documents] == ["a", "b", "c"]
    assert found.pairs.logit == pytest.approx([0, np.log(4), np.log(9_999)])
    assert [one["text"] for one in found.held_out.documents] == ["d"]
    assert np.isfinite(found.held_out.logit).all()


def test_a_file_is_read_by_the_mapped_columns(of, setting, tmp_path):
    path = write(
        tmp_path / "said.jsonl",
        [{"q": "new", "text": letter, "p": p} for letter, p in (("a", 0.5), ("b", 0.1))],
    )
    columns = Columns(
        query={"text": "q"}, document={"text": "text"}, level="level", p_severe="p", segment="no"
    )
    found = prepare_lesson(of, setting(TeacherKind.FILE, path, columns=columns))
    assert found.pairs.logit == pytest.approx([0, np.log(1 / 9)])


def test_a_file_needs_none_of_the_columns_that_tell_of_labels(of, setting, tmp_path):
    """It was refused for the want of a time, or of a probability for each level."""
    path = write(tmp_path / "said.jsonl", [row("new", letter, p) for letter, p in (("a", 0.5), ("b", 0.1))])
    others = ("source", "annotator", "sampling", "adjudicated", "cluster", "segment", "time")
    columns = Columns(**{name: name for name in others}, level=None, levels={"good": "g", "bad": "b"})
    found = prepare_lesson(of, setting(TeacherKind.FILE, path, columns=columns))
    assert found.pairs.logit == pytest.approx([0, np.log(1 / 9)])


@pytest.mark.parametrize("p", [(0.1, 0.4), (0.6, 0.9)])
def test_a_file_may_find_all_pairs_more_likely_the_one_or_the_other(of, setting, tmp_path, p):
    """It was refused as labels of one kind are."""
    path = write(tmp_path / "said.jsonl", [row("new", str(i), one) for i, one in enumerate(p)])
    found = prepare_lesson(of, setting(TeacherKind.FILE, path))
    assert found.pairs.logit == pytest.approx(np.log(np.divide(p, np.subtract(1, p))))


def test_a_file_says_nothing_of_queries_that_judge_nor_of_any_like_them(of, setting, tmp_path):
    rows = [row("something new", "x", 0.5)]
    for role in JUDGING:
        text = min(of_roles(of, role))
        rows += [
            row(text, "x", 0.1),
            row(text.upper(), "x", 0.1),
            row(f"{text} ", "x", 0.2),
            row(f"{text}s", "x", 0.3),
        ]
    path = write(tmp_path / "said.jsonl", rows)
    found = prepare_lesson(of, setting(TeacherKind.FILE, path))
    assert texts(found.pairs, "queries") == {"something new"}
    assert len(found.held_out) == 0


def test_a_file_says_nothing_of_queries_that_judge_though_one_in_it_joins_them_with_train(
    of, setting, tmp_path, monkeypatch
):
    """What a teacher said of the role test was learned, where a query of the file was like one of train too."""
    monkeypatch.setattr(lesson, "clusters", lambda queries: np.zeros(len(queries), np.int64))
    train = min(of_roles(of, Role.TRAIN))
    rows = [row(text, "x", 0.1) for text in (train, "like all of them", *of_roles(of, *JUDGING))]
    path = write(tmp_path / "said.jsonl", rows)
    assert texts(prepare_lesson(of, setting(TeacherKind.FILE, path)).pairs, "queries") == {train}


def test_a_file_of_nothing_but_queries_that_judge_is_refused(of, setting, tmp_path):
    path = write(
        tmp_path / "said.jsonl", [row(text, "x", i % 2) for i, text in enumerate(of_roles(of, *JUDGING))]
    )
    with pytest.raises(DataRefused, match=r"said.jsonl: none of its queries is of the role train"):
        prepare_lesson(of, setting(TeacherKind.FILE, path))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1, 1.5, None])
def test_what_is_no_probability_in_a_file_is_one_line(of, setting, tmp_path, wrong):
    path = tmp_path / "said.parquet"
    said = {"query": ["a", "b"], "document": ["c", "d"], "p_severe": pa.array([0.5, wrong], pa.float64())}
    pq.write_table(pa.table(said), path)
    with pytest.raises(
        DataRefused, match=r"said.parquet, row 2: .*no probability of a severe one"
    ) as refused:
        prepare_lesson(of, setting(TeacherKind.FILE, path))
    assert "\n" not in str(refused.value)


def test_a_file_without_a_column_of_probabilities_is_refused(of, setting, tmp_path):
    path = write(tmp_path / "said.jsonl", [{"query": "a", "document": "b", "level": "good"}])
    with pytest.raises(DataRefused, match="no column p_severe"):
        prepare_lesson(of, setting(TeacherKind.FILE, path))
