from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from actors.errors import DataRefused
from actors.learn.sample import People
from actors.learn.teacher import FeatureTeacher

KINDS = ("kettle", "lamp", "chair", "blanket", "radio", "sofa", "pillow", "mirror", "carpet", "ladder")


class Counted:
    """Dense features of arithmetic: the length of the title, and whether it holds the query."""

    names = ("length", "holds")

    def of_pairs(self, queries, documents):
        return np.array(
            [[len(d["title"]) / 20, float(q in d["title"])] for q, d in zip(queries, documents, strict=True)]
        )


class Whispered:
    """What no student can know: which pairs are severe, by their titles."""

    names = ("severe",)

    def __init__(self, people):
        self._severe = {
            (query, document["title"]): severe
            for query, document, severe in zip(people.query, people.documents, people.severe, strict=True)
        }

    def of_pairs(self, queries, documents):
        return np.array(
            [[self._severe[q, d["title"]]] for q, d in zip(queries, documents, strict=True)], float
        )


@pytest.fixture(scope="module")
def learned():
    draw = np.random.default_rng(0)
    queries, documents, severe = [], [], []
    for kind in KINDS:
        for _ in range(60):
            other = KINDS[draw.integers(len(KINDS))] if draw.random() < 0.5 else kind
            queries.append(kind)
            documents.append({"title": f"{other} {draw.integers(100)}"})
            severe.append(bool((other != kind) ^ (draw.random() < 0.1)))
    return People(
        pair=np.arange(len(queries)),
        queries=[{"text": query} for query in queries],
        documents=documents,
        query=np.array(queries, dtype=object),
        severe=np.array(severe),
        share_severe=np.array(severe, float),
        random=np.ones(len(queries), bool),
        cluster=np.repeat(np.arange(len(KINDS)), 60),
        segment=None,
    )


@pytest.fixture(scope="module")
def teacher(learned):
    return FeatureTeacher.fit(learned, [Counted()])


def test_it_tells_severe_pairs_of_clusters_that_it_did_not_see(teacher, learned):
    assert roc_auc_score(learned.severe, teacher.out_of_fold) > 0.85


def test_what_is_privileged_is_believed_by_half_of_it(teacher, learned):
    """Where words are wrong, those that know and those that do not are of two minds."""
    told = FeatureTeacher.fit(learned, [Counted()], [Whispered(learned)])
    wrong = (teacher.out_of_fold > 0) != learned.severe
    sure = np.abs(told.out_of_fold)
    assert roc_auc_score(learned.severe, told.out_of_fold) > 0.97
    assert roc_auc_score(learned.severe, teacher.out_of_fold) < 0.95
    assert sure[wrong].mean() < 0.6 * sure[~wrong].mean()
    assert len(told.prior.weights) == len(teacher.prior.weights)


def test_its_logits_are_probabilities_on_average(teacher, learned):
    p = 1 / (1 + np.exp(-teacher.out_of_fold))
    assert p.mean() == pytest.approx(learned.severe.mean(), abs=0.02)


def test_a_pair_is_scored_without_its_own_cluster(learned):
    """With the labels of one cluster turned round, what is said of that cluster stays."""
    turned = np.where(learned.cluster == 3, ~learned.severe, learned.severe)
    one = FeatureTeacher.fit(learned, [Counted()])
    other = FeatureTeacher.fit(replace(learned, severe=turned), [Counted()])
    rows = learned.cluster == 3
    same_order = np.corrcoef(one.out_of_fold[rows], other.out_of_fold[rows])[0, 1]
    assert same_order > 0.95


def test_others_are_scored_finitely_and_the_prior_speaks_for_words(teacher):
    fits, not_at_all = teacher.logits(["kettle", "kettle"], [{"title": "kettle 1"}, {"title": "sofa 1"}])
    assert fits < not_at_all
    assert teacher.prior.logit("kettle", {"title": "kettle 1"}) < teacher.prior.logit(
        "kettle", {"title": "sofa 1"}
    )


def test_too_few_clusters_and_a_single_kind_are_refused(learned):
    few = replace(learned, cluster=learned.cluster // 4)
    with pytest.raises(DataRefused, match="3 clusters in the role train"):
        FeatureTeacher.fit(few, [Counted()])
    harmless = replace(learned, severe=np.zeros(len(learned), bool))
    with pytest.raises(DataRefused, match="too few severe pairs"):
        FeatureTeacher.fit(harmless, [Counted()])
