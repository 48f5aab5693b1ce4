import json
from dataclasses import replace

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from actors.learn.agreement import (
    MOST_COUPLES,
    MOST_JUDGES,
    among_people,
    compare_judges,
    list_conflicts,
)
from actors.learn.labels import Label, Labels, Pair, Sampling, Source
from actors.learn.listing import LISTED
from actors.learn.roles import Role
from actors.rubric import Rubric
from tests import label_sets as made

RUBRIC = Rubric({"good": 1.0, "odd": 0.5, "bad": 0.0}, frozenset({"bad"}))


def label(pair, level, who="a", source=Source.HUMAN, sampling=Sampling.RANDOM, adjudicated=False):
    return Label(pair, source, who, level, float(level == "bad"), sampling, adjudicated)


def labels(*rows):
    n = max(row.pair for row in rows) + 1
    return Labels(RUBRIC, tuple(Pair({"text": "q"}, {"text": str(i)}, None, None) for i in range(n)), rows)


def two_people(first, second):
    return labels(
        *(label(i, level) for i, level in enumerate(first)),
        *(label(i, level, "b") for i, level in enumerate(second)),
    )


def test_people_who_say_the_same_agree_fully():
    said = ["good", "bad", "odd", "good"]
    found = among_people(two_people(said, said))

    assert found.alpha == pytest.approx(1)
    assert found.kappa == {"a / b": pytest.approx(1)}
    assert found.conflicts == ()
    assert not found.near_chance


def test_people_who_toss_coins_are_near_chance():
    rng = np.random.default_rng(2)
    first, second = (rng.choice(RUBRIC.levels, 400).tolist() for _ in range(2))
    found = among_people(two_people(first, second))

    assert found.near_chance
    assert found.kappa["a / b"] == pytest.approx(0, abs=0.15)
    told = enumerate(zip(first, second, strict=True))
    assert found.conflicts == tuple(i for i, (a, b) in told if (a == "bad") != (b == "bad"))


def test_the_figures_are_those_of_a_table_of_all_who_spoke_with_its_gaps():
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=200)
    table = np.where(rng.random((5, 200)) < 0.6, truth, rng.integers(3, size=(5, 200))).astype(float)
    table[rng.random((5, 200)) < 0.5] = np.nan
    rows = [label(i, RUBRIC.levels[int(table[who, i])], str(who)) for who, i in np.argwhere(~np.isnan(table))]
    found = among_people(labels(*rows))

    assert found.alpha == pytest.approx(
        krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    )
    assert len(found.kappa) == 10
    for couple, kappa in found.kappa.items():
        one, other = map(int, couple.split(" / "))
        both = ~np.isnan(table[[one, other]]).any(axis=0)
        assert kappa == pytest.approx(
            cohen_kappa_score(table[one, both].astype(int), table[other, both].astype(int))
        )


def test_of_very_many_people_the_couples_with_most_in_common_are_compared():
    rows = [label(i // 2, "good", f"{i:03}") for i in range(400)]
    rows += [label(i, level, name) for i, level in enumerate(["good", "bad"]) for name in ("x", "y")]

    found = among_people(labels(*rows)).kappa
    assert len(found) == MOST_COUPLES
    assert next(iter(found.items())) == ("x / y", 1.0)


def test_a_disagreement_of_one_step_weighs_less_than_one_of_two():
    said = ["good", "bad"] * 10
    near = among_people(two_people(said, ["odd", "bad", *said[2:]]))
    far = among_people(two_people(said, ["bad", "bad", *said[2:]]))

    assert far.alpha < near.alpha < 1


def test_one_opinion_each_is_no_agreement():
    found = among_people(labels(label(0, "good"), label(1, "bad", "b")))

    assert (found.alpha, found.n_pairs, found.kappa) == (None, 0, {})
    assert not found.near_chance


def test_where_all_say_one_level_there_is_no_chance_to_take_out():
    found = among_people(two_people(["good"] * 3, ["good"] * 3))

    assert found.alpha == 1
    assert found.kappa == {"a / b": None}


def test_people_who_give_probabilities_alone_agree_on_what_is_severe_or_do_not():
    """They were left out, so that people who contradict each other stood in nobody's way."""
    by_level = two_people(["good", "bad"] * 10, ["bad", "good"] * 9 + ["good", "bad"])
    rows = [replace(row, level=None, p_severe=0.9 if row.level == "bad" else 0.2) for row in by_level.rows]
    found, graded = among_people(labels(*rows)), among_people(by_level)

    assert found == graded
    assert found.near_chance
    assert len(found.conflicts) == 18
    assert among_people(labels(*rows, label(0, "good"))).n_pairs == 0


def test_a_conflict_that_was_settled_is_none():
    rows = (label(0, "good"), label(0, "bad", "b"))

    assert among_people(labels(*rows)).conflicts == (0,)
    assert among_people(labels(*rows, label(0, "bad", "c", adjudicated=True))).conflicts == ()


def test_a_pair_that_one_person_alone_has_labelled_is_counted_unless_somebody_settled_it():
    rows = [
        label(0, "good"),
        label(0, "bad"),  # the same person again
        label(1, "good"),
        label(1, "good", "b"),
        label(2, "good", ""),
        label(2, "good", ""),  # nobody knows who: they may be two
        label(3, "bad", adjudicated=True),
        label(4, "good", "gpt", Source.JUDGE),
    ]
    found = among_people(labels(*rows))

    assert found.n_alone == found.to_json()["pairs_of_one_person"] == 1


def test_a_judge_settles_nothing():
    """A judge's row that said so hid what people disagree on, and that one person alone had spoken."""
    judge = label(0, "bad", "gpt", Source.JUDGE, adjudicated=True)
    assert among_people(labels(label(0, "good"), label(0, "bad", "b"), judge)).conflicts == (0,)
    assert among_people(labels(label(0, "good"), judge)).n_alone == 1


def test_judges_do_not_count_as_people():
    found = among_people(labels(label(0, "good"), label(0, "bad", "gpt", Source.JUDGE)))

    assert found.n_pairs == 0


def test_a_judge_is_compared_level_by_level_on_random_pairs_only():
    rows = []
    for i in range(60):
        rows.append(label(i, "bad" if i % 3 else "good"))
        rows.append(label(i, "bad", "gpt", Source.JUDGE))
    chosen = [label(60, "good"), label(60, "bad", "gpt", Source.JUDGE, Sampling.BY_SCORE)]
    chosen += [label(62, "good", sampling=Sampling.BY_SCORE), label(62, "bad", "gpt", Source.JUDGE)]
    everything = labels(*rows, *chosen, label(61, "odd", "gpt", Source.JUDGE))
    everything = replace(
        everything,
        pairs=tuple(replace(one, query={"text": made.query(i)}) for i, one in enumerate(everything.pairs)),
    )
    (judge,) = compare_judges(made.sample(everything, shares={Role.TRAIN: 1.0}))

    assert set(judge.by_level) == {"bad"}
    assert judge.by_level["bad"].value == pytest.approx(2 / 3)
    assert judge.by_level["bad"].low < 2 / 3 < judge.by_level["bad"].high
    assert judge.by_level["bad"].n_clusters == judge.n_overlap == 60


def test_of_very_many_judges_those_with_most_labels_are_compared():
    of = made.pairs()
    one_each = [replace(row, annotator=f"call {i}") for i, row in enumerate(made.by_judge(of))]
    judges = compare_judges(made.sample(made.labels(of, *made.by_people(of), *one_each, *made.by_judge(of))))

    assert judges[0].name == "gpt"
    assert len(judges) == 361
    assert sum(bool(judge.by_level) for judge in judges) == MOST_JUDGES


def test_it_is_plain_data():
    assert "NaN" not in json.dumps(among_people(two_people(["good", "bad"], ["bad", "bad"])).to_json())


def test_a_judge_that_ranks_as_people_do_is_told_from_one_that_guesses():
    of = made.pairs()
    rows = made.by_people(of) + made.by_judge(of, right=0.9) + made.by_judge(of, right=0.0, name="coin")
    good, coin = compare_judges(made.sample(made.labels(of, *rows)))

    assert (good.name, good.n_labels, good.n_overlap, good.n_severe) == ("gpt", 360, 360, 120)
    assert good.auc.low > 0.8
    assert coin.auc.low < 0.5 < coin.auc.high
    assert set(good.by_level) == {"good", "bad"}
    assert good.by_level["bad"].value > 0.8
    assert good.by_level["good"].value < 0.1
    assert good.to_json()["overlap"] == 360


def test_a_judge_is_ranked_by_its_probabilities_and_by_gain_among_equal_ones():
    of = made.pairs()
    sure = [
        replace(row, p_severe=0.9 if row.level == "bad" else 0.2, level=None) for row in made.by_judge(of)
    ]
    lenient = made.by_judge(of, name="lenient")
    mild = [replace(row, level="odd", p_severe=0.0) if row.level == "bad" else row for row in lenient]
    for judge in compare_judges(made.sample(made.labels(of, *made.by_people(of), *sure, *mild))):
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
    of = made.pairs()
    rows = [
        change(row) if row.source is Source.HUMAN else row for row in made.by_people(of) + made.by_judge(of)
    ]
    shares = {role: float(role is Role.TRAIN) for role in Role}
    (judge,) = compare_judges(made.sample(made.labels(of, *rows), shares=shares))

    assert judge.auc is None
    assert judge.n_severe in {0, judge.n_overlap}


def test_conflicts_say_who_said_what():
    of = made.pairs()
    extra = [label(i, "bad" if i % 3 else "good", "bob") for i in range(2 * LISTED)]
    extra.append(replace(label(1, "bad", "cy"), level=None, p_severe=0.7))
    found = list_conflicts(made.sample(made.labels(of, *made.by_people(of), *extra)), range(2 * LISTED))

    assert found.n == 2 * LISTED
    assert len(found.shown) == LISTED
    assert found.shown[1].said == "ann: good; bob: bad; cy: 0.70"
    assert found.shown[1].query == made.query(0)


def test_a_judge_that_gives_probabilities_is_told_of_by_tenths():
    rng = np.random.default_rng(4)
    severe = rng.random(80) < 0.5
    rows = [label(i, "bad" if bad else "good") for i, bad in enumerate(severe)]
    rows += [
        replace(label(i, "good", "j", Source.JUDGE), level=None, p_severe=0.95 if bad else 0.05)
        for i, bad in enumerate(severe)
    ]
    (found,) = compare_judges(made.sample(labels(*rows), shares={Role.TRAIN: 1.0}))

    assert {level: one.value for level, one in found.by_level.items()} == {"p >= 0.0": 0, "p >= 0.9": 1}
