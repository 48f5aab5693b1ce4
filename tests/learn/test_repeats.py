from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from actors.learn import repeats
from actors.learn.labels import Pair
from actors.learn.listing import LISTED
from actors.learn.repeats import find_leakage, find_repeats, group_queries
from actors.learn.roles import Role
from tests.label_sets import by_people, label, labels, pairs, query, sample


def found_in(*rows, of=None):
    of = pairs() if of is None else of
    return sample(labels(of, *(rows or by_people(of))))


def written(value):
    return json.loads(json.dumps(value.to_json(), allow_nan=False))


def test_repeats_are_counted_and_those_that_contradict_are_named():
    of = pairs()
    text = "steel kettle with a long spout for tea and coffee at home or on the road"
    of += [Pair({"text": query(0)}, {"text": t}, None, None) for t in (text, text.upper(), f"{text} blue")]
    rows = by_people(of)
    rows[360:] = [label(360, "good"), label(361, "good"), label(362, "bad"), label(0, "bad")]
    found = sample(labels(of, *rows))
    said = find_repeats(found, group_queries(found)[0])

    assert said.labels == 1
    assert [one.pair for one in said.same.shown] == [360]
    assert said.contradicting.n == 1
    assert said.contradicting.shown[0].said == "3 pairs: 2 not severe, 1 severe"
    assert written(said)["near_pairs"]["n"] >= 1


def test_declared_clusters_that_part_alike_queries_leak():
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    twins = [
        replace(one, query={"text": one.query["text"] + "s"}, cluster=f"twin {i // 6}")
        for i, one in enumerate(of)
    ]
    found = found_in(of=of + twins)
    leakage = find_leakage(found, group_queries(found)[0])

    assert 10 < leakage.queries.n < 60
    assert len(leakage.queries.shown) == LISTED
    assert "; " in leakage.queries.shown[0].said
    assert leakage.known_queries[Role.TEST] > 0.3
    assert set(written(leakage)) == {
        "alike_queries_in_several_roles",
        "documents_in_several_roles",
        "share_of_pairs_with_a_query_known_before",
        "share_of_pairs_with_a_document_known_before",
    }


def test_clusters_that_were_found_part_no_alike_queries():
    found = found_in()
    leakage = find_leakage(found, group_queries(found)[0])

    assert leakage.queries.n == leakage.documents.n == 0
    assert set(leakage.known_queries.values()) == {0.0}


def test_a_document_of_many_queries_is_known_to_later_roles():
    of = [replace(one, document={"text": f"thing {i % 6}"}) for i, one in enumerate(pairs())]
    rows = [label(i, "bad" if i % 3 == 0 else "good") for i in range(len(of))]
    found = found_in(*rows, of=of)
    leakage = find_leakage(found, group_queries(found)[0])

    assert leakage.documents.n == 6
    assert set(leakage.known_documents.values()) == {1.0}


def test_with_very_many_declared_queries_only_equal_ones_are_connected(monkeypatch):
    monkeypatch.setattr(repeats, "MOST_QUERIES", 10)
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    found = found_in(of=of)

    number, searched = group_queries(found)

    assert (len(np.unique(number)), searched) == (60, False)
