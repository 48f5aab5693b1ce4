from __future__ import annotations

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn.judge import PSEUDO_PAIRS
from actors.learn.labels import Sampling, Source
from actors.learn.recipe import Recipe
from actors.learn.roles import Role
from actors.learn.rows import targets
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample, truth

ALL_TRAIN = {Role.TRAIN: 1.0}
RECIPE = Recipe(judge_weight=0.4, weak_weight=0.1)
FOUND = pairs(20, 6)
LABELLED, ALONE = 90, 30
"""Pairs with people's labels; and the last ones, without."""


def learned(*rows, shares=ALL_TRAIN, **given):
    return targets(sample(labels(FOUND, *rows), shares=shares), RECIPE, **given)


def told(found, pair):
    """Target and weight."""
    (place,) = np.flatnonzero(found.pair == pair)
    return found.target[place], found.weight[place]


def people(n=LABELLED):
    return by_people(FOUND, "ann")[:n]


def rules(*of, severe=1.0):
    return [label(i, "bad", "rule", source=Source.WEAK, p_severe=severe) for i in of]


def test_people_outrank_judges_and_rules():
    found = learned(*people(), *by_judge(FOUND, right=0.5), *rules(*range(len(FOUND))))
    expected = [(float(truth(FOUND, i) == "bad"), 1.0) for i in range(LABELLED)]
    assert [told(found, i) for i in range(LABELLED)] == expected
    assert found.n_by_source == {Source.HUMAN: LABELLED, Source.JUDGE: ALONE, Source.WEAK: 0}


def test_a_judge_outranks_rules():
    found = learned(*people(), *by_judge(FOUND, n=len(FOUND) - 5), *rules(*range(len(FOUND)), severe=0.5))
    assert told(found, len(FOUND) - 6)[1] == RECIPE.judge_weight
    assert told(found, len(FOUND) - 1) == (0.5, RECIPE.weak_weight)
    assert found.n_by_source == {Source.HUMAN: LABELLED, Source.JUDGE: ALONE - 5, Source.WEAK: 5}


def test_people_who_disagree_make_a_probability():
    found = learned(*people(), label(0, "good", "bob"), label(0, "bad", "cat"), label(0, "good", "dan"))
    assert told(found, 0)[0] == pytest.approx({"good": 0.25, "bad": 0.5}[truth(FOUND, 0)])


def test_a_judge_that_says_the_opposite_is_taken_for_what_people_say_where_it_says_it():
    turned = {"good": "bad", "bad": "good"}
    rows = [label(i, turned[truth(FOUND, i)], "gpt", source=Source.JUDGE) for i in range(len(FOUND))]
    found = learned(*people(), *rows)
    n_severe = sum(truth(FOUND, i) == "bad" for i in range(LABELLED))
    overall = n_severe / LABELLED
    says_good = (n_severe + PSEUDO_PAIRS * overall) / (n_severe + PSEUDO_PAIRS)

    assert found.judges["gpt"].by_level["good"] == pytest.approx(says_good)
    assert says_good > 0.8
    for place in range(LABELLED, len(FOUND)):
        p = found.judges["gpt"].p_severe(turned[truth(FOUND, place)], FOUND[place].segment)
        assert told(found, place) == (pytest.approx(p), RECIPE.judge_weight)
        assert (p > 0.5) is (truth(FOUND, place) == "bad")


def test_the_words_of_several_judges_are_averaged():
    rows = [*by_judge(FOUND, name="gpt"), *by_judge(FOUND, right=0.0, name="llama")]
    found = learned(*people(), *rows)
    said = [
        found.judges[row.annotator].p_severe(row.level, FOUND[row.pair].segment)
        for row in rows
        if row.pair == LABELLED
    ]
    assert len(said) == 2
    assert told(found, LABELLED)[0] == pytest.approx(np.mean(said))


def test_a_judge_that_spoke_twice_is_taken_at_its_last_word():
    """It was taken at the mean of all, and an overlap counted as often as it had spoken."""
    turned = {"good": "bad", "bad": "good"}
    first = [label(i, turned[truth(FOUND, i)], "gpt", source=Source.JUDGE) for i in range(len(FOUND))]
    once, twice = (learned(*people(), *rows, *by_judge(FOUND)) for rows in ([], first))
    assert twice.judges == once.judges
    assert twice.target.tolist() == once.target.tolist()


def test_a_judges_probabilities_go_through_its_map_too():
    rows = [
        label(i, None, "gpt", source=Source.JUDGE, p_severe=0.45 if truth(FOUND, i) == "bad" else 0.05)
        for i in range(len(FOUND))
    ]
    found = learned(*people(), *rows)
    assert {*found.judges["gpt"].by_level} == {"p >= 0.0", "p >= 0.4"}
    bad = next(i for i in range(LABELLED, len(FOUND)) if truth(FOUND, i) == "bad")
    assert told(found, bad)[0] > 0.7


def test_a_judge_of_pairs_that_no_person_labelled_is_refused_by_its_name():
    rows = [row for row in by_judge(FOUND, name="gpt") if row.pair >= LABELLED]
    with pytest.raises(DataRefused, match="judge gpt: 0 pairs drawn at random have labels of people too"):
        learned(*people(), *rows)


def test_a_judge_that_cannot_be_held_against_people_may_be_left_out_and_rules_take_its_place():
    alone = [row for row in by_judge(FOUND, name="llama") if row.pair >= LABELLED]
    rows = [*people(), *by_judge(FOUND, n=len(FOUND) - 10, name="gpt"), *alone, *rules(len(FOUND) - 1)]
    found = learned(*rows, leave_out=True)
    assert {*found.judges} == {"gpt"}
    assert found.left_out == {"llama": "0 pairs drawn at random have labels of people too, 30 are needed"}
    assert found.n_by_source == {Source.HUMAN: LABELLED, Source.JUDGE: ALONE - 10, Source.WEAK: 1}
    without = learned(*(row for row in rows if row.annotator != "llama"))
    assert (found.pair.tolist(), found.target.tolist()) == (without.pair.tolist(), without.target.tolist())
    assert without.left_out == {}


def test_a_judge_of_one_kind_of_pairs_may_be_left_out_too():
    good = [row for row in people() if row.level == "good"]
    found = learned(*good, *by_judge(FOUND, n=LABELLED), *rules(LABELLED), leave_out=True)
    assert found.left_out == {"gpt": f"people say the same of all {len(good)} pairs that it labelled too"}


def test_where_nothing_is_left_to_learn_from_that_is_said_in_one_line():
    with pytest.raises(DataRefused, match="nothing of the role train can be learned from") as refused:
        learned(*by_judge(FOUND), leave_out=True)
    assert "let people label a random sample" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_judges_name_does_not_break_the_line_of_its_refusal():
    with pytest.raises(DataRefused, match=r"^judge gpt 2: 0 pairs") as refused:
        learned(*people(), *(row for row in by_judge(FOUND, name="gpt\n2") if row.pair >= LABELLED))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("chosen", [Source.HUMAN, Source.JUDGE])
def test_pairs_that_a_score_chose_say_nothing_of_a_judge(chosen):
    """Neither where the judge's pairs were chosen, nor where the people's were; here the first half."""
    rows = [
        label(row.pair, row.level, row.annotator, source=row.source, sampling=Sampling.BY_SCORE)
        if row.source is chosen and row.pair < LABELLED // 2
        else row
        for row in [*people(), *by_judge(FOUND)]
    ]
    assert learned(*rows).judges["gpt"].n == LABELLED - LABELLED // 2


def test_only_pairs_of_the_role_train_are_learned_from():
    rows = [*by_people(FOUND, "ann"), *by_judge(FOUND), *rules(*range(len(FOUND)))]
    of = sample(labels(FOUND, *rows), shares={Role.TRAIN: 0.6, Role.TEST: 0.4})
    found = targets(of, RECIPE)
    assert found.pair.tolist() == np.flatnonzero(of.role == Role.TRAIN).tolist()
    assert found.judges["gpt"].n == len(found.pair) < len(FOUND)
