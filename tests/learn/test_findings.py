from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from actors.learn import findings
from actors.learn.findings import LINE, LISTED, one_line
from actors.learn.labels import Pair, Sampling, Source
from actors.learn.roles import Role
from tests.label_sets import by_judge, by_people, label, labels, pairs, query, sample


def found_in(*rows, of=None):
    of = pairs() if of is None else of
    return sample(labels(of, *(rows or by_people(of))))


def written(value):
    return json.loads(json.dumps(value.to_json(), allow_nan=False))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a  kettle\nred\t", "a kettle red"),
        ("\x1b[31mred\x1b[0m \u202eback", "[31mred [0m back"),
        ("x" * 200, "x" * (LINE - 1) + "…"),
        ("\n" * 10_000 + "late", "…"),
        ("x" * LINE, "x" * LINE),
        ("half \ud83d", "half"),
    ],
)
def test_a_text_is_shown_on_one_line_without_what_moves_a_cursor(text, line):
    assert one_line(text) == line


def test_a_judge_that_ranks_as_people_do_is_told_from_one_that_guesses():
    of = pairs()
    rows = by_people(of) + by_judge(of, right=0.9) + by_judge(of, right=0.0, name="coin")
    good, coin = findings.judges(found_in(*rows, of=of))

    assert (good.name, good.n_labels, good.n_overlap, good.n_severe) == ("gpt", 360, 360, 120)
    assert good.auc.low > 0.8
    assert coin.auc.low < 0.5 < coin.auc.high
    assert set(good.by_level) == {"good", "bad"}
    assert good.by_level["bad"].value > 0.8
    assert good.by_level["good"].value < 0.1
    assert written(good)["overlap"] == 360


def test_a_judge_is_ranked_by_its_probabilities_and_by_gain_among_equal_ones():
    of = pairs()
    sure = [replace(row, p_severe=0.9 if row.level == "bad" else 0.2, level=None) for row in by_judge(of)]
    lenient = by_judge(of, name="lenient")
    mild = [replace(row, level="odd", p_severe=0.0) if row.level == "bad" else row for row in lenient]
    for judge in findings.judges(found_in(*by_people(of), *sure, *mild, of=of)):
        assert judge.auc.value == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda row: replace(row, sampling=Sampling.BY_SCORE),
        lambda row: replace(row, level="good", p_severe=0.0),
    ],
    ids=["chosen by score", "one kind"],
)
def test_a_judge_without_an_overlap_of_both_kinds_has_no_auc(change):
    of = pairs()
    rows = [change(row) if row.source is Source.HUMAN else row for row in by_people(of) + by_judge(of)]
    shares = {role: float(role is Role.TRAIN) for role in Role}
    (judge,) = findings.judges(sample(labels(of, *rows), shares=shares))

    assert judge.auc is None
    assert judge.n_severe in {0, judge.n_overlap}


def test_conflicts_say_who_said_what():
    of = pairs()
    extra = [label(i, "bad" if i % 3 else "good", "bob") for i in range(2 * LISTED)]
    found = findings.conflicts(found_in(*by_people(of), *extra, of=of), range(2 * LISTED))

    assert found.n == 2 * LISTED
    assert len(found.shown) == LISTED
    assert found.shown[1].said == "ann: good; bob: bad"
    assert found.shown[1].query == query(0)


def test_repeats_are_counted_and_those_that_contradict_are_named():
    of = pairs()
    text = "steel kettle with a long spout for tea and coffee at home or on the road"
    of += [Pair({"text": query(0)}, {"text": t}, None, None) for t in (text, text.upper(), f"{text} blue")]
    rows = by_people(of)
    rows[360:] = [label(360, "good"), label(361, "good"), label(362, "bad"), label(0, "bad")]
    found = sample(labels(of, *rows))
    repeats = findings.repeats(found, findings.query_groups(found))

    assert repeats.labels == 1
    assert [one.pair for one in repeats.same.shown] == [360]
    assert repeats.contradicting.n == 1
    assert repeats.contradicting.shown[0].said == "3 pairs: 2 not severe, 1 severe"
    assert written(repeats)["near_pairs"]["n"] >= 1


def test_declared_clusters_that_part_alike_queries_leak():
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    twins = [
        replace(one, query={"text": one.query["text"] + "s"}, cluster=f"twin {i // 6}")
        for i, one in enumerate(of)
    ]
    found = found_in(of=of + twins)
    leakage = findings.leakage(found, findings.query_groups(found))

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
    leakage = findings.leakage(found, findings.query_groups(found))

    assert leakage.queries.n == leakage.documents.n == 0
    assert set(leakage.known_queries.values()) == {0.0}


def test_a_document_of_many_queries_is_known_to_later_roles():
    of = [replace(one, document={"text": f"thing {i % 6}"}) for i, one in enumerate(pairs())]
    rows = [label(i, "bad" if i % 3 == 0 else "good") for i in range(len(of))]
    found = found_in(*rows, of=of)
    leakage = findings.leakage(found, findings.query_groups(found))

    assert leakage.documents.n == 6
    assert set(leakage.known_documents.values()) == {1.0}


def test_with_very_many_declared_queries_only_equal_ones_are_connected(monkeypatch):
    monkeypatch.setattr(findings, "MOST_QUERIES", 10)
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    found = found_in(of=of)

    assert len(np.unique(findings.query_groups(found))) == 60


def test_balance_is_by_cluster_and_by_segment():
    of = pairs()
    found = found_in(of=of)
    roles, (segments, n_left_out) = findings.by_role(found), findings.by_segment(found)

    assert sum(part.n_pairs for part in roles.values()) == 360
    assert sum(part.n_clusters for part in roles.values()) == 60
    assert (set(segments), n_left_out) == ({"even", "odd"}, 0)
    assert segments["odd"].severe.value == pytest.approx(1 / 3)
    assert written(segments["odd"])["pairs"] == 180


def test_small_segments_beyond_the_largest_are_only_counted():
    of = [replace(one, segment=f"s{i % 70}") for i, one in enumerate(pairs())]
    segments, n_left_out = findings.by_segment(found_in(of=of))

    assert (len(segments), n_left_out) == (findings.MOST_PARTS, 20)


def test_a_label_against_all_words_is_suspected():
    of = pairs(per_cluster=12)
    rows = by_people(of)
    wrong = [7, 100, 333]
    for i in wrong:
        rows[i] = label(i, "good" if rows[i].level == "bad" else "bad")
    found = findings.suspected(found_in(*rows, of=of), None)

    assert found.auc.value > 0.95
    assert {one.pair for one in found.found.shown} >= set(wrong)
    assert len(found.p_severe) == len(of)
    assert "NaN" not in json.dumps(found.to_json())


def test_probabilities_of_the_data_are_asked_where_it_has_them():
    of = pairs()
    p = np.where([row.level == "bad" for row in by_people(of)], 0.9, 0.1)
    p[:60] = np.nan
    p[200] = 1 - p[200]
    found = findings.suspected(found_in(of=of), p)

    assert "probabilities in the data" in found.basis
    assert [one.pair for one in found.found.shown] == [200]
    assert len(found.p_severe) == 300


def test_where_nothing_can_be_compared_it_says_why():
    of = pairs()
    shares = {role: float(role is Role.TRAIN) for role in Role}
    one_kind = sample(labels(of, *(label(i, "good") for i in range(len(of)))))
    judge_only = sample(labels(of, *by_judge(of)), shares=shares)
    one_cluster = sample(labels(of[:6], *by_people(of[:6])), shares=shares)

    for found in (one_kind, judge_only, one_cluster):
        said = findings.suspected(found, None)
        assert "nothing to compare" in said.basis
        assert said.auc is None
        assert said.found.n == 0


def test_a_level_that_nobody_used_is_counted_too():
    of = pairs()
    counts = findings.n_labels(labels(of, *by_people(of), *by_judge(of, n=9)))

    assert counts["odd"] == {"human": 0, "judge": 0, "weak": 0}
    assert counts["bad"] == {"human": 120, "judge": 3, "weak": 0}
