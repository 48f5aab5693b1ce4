import json

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn.judge import PSEUDO_PAIRS, Overlap, learn_judge, level
from actors.learn.labels import Source
from tests.label_sets import label


def overlap(*counts):
    """Pairs by (level, segment, severe, how many)."""
    rows = [(level, segment, severe) for level, segment, severe, n in counts for _ in range(n)]
    level, segment, severe = zip(*rows, strict=True)
    return Overlap(level, segment, np.array(severe, float))


SEEN = overlap(
    ("bad", "toys", 1, 90),
    ("bad", "toys", 0, 10),
    ("bad", "tools", 0, 8),
    ("good", "toys", 0, 95),
    ("good", "toys", 1, 5),
    ("good", None, 0, 87),
)


def test_a_level_that_was_seen_often_means_what_people_said():
    found = learn_judge(SEEN)

    assert found.p_severe("bad") == pytest.approx(90 / 108, abs=0.05)
    assert found.p_severe("good") == pytest.approx(5 / 187, abs=0.03)


def test_a_segment_has_its_own_meaning_pulled_towards_the_levels():
    found = learn_judge(SEEN)

    # 0 of 8 people agree with the judge on tools: lower than elsewhere, but eight pairs do not make it zero.
    assert 0.3 < found.p_severe("bad", "tools") < found.p_severe("bad") - 0.2
    assert found.p_severe("bad", "toys") > found.p_severe("bad")


def test_the_pull_is_that_of_so_many_pairs():
    found = learn_judge(SEEN)
    broad = found.p_severe("bad")

    assert found.p_severe("bad", "tools") == pytest.approx(PSEUDO_PAIRS * broad / (8 + PSEUDO_PAIRS))


def test_what_was_never_seen_has_the_broader_share():
    found = learn_judge(SEEN)

    assert found.p_severe("bad", "garden") == found.p_severe("bad")
    assert found.p_severe("ugly") == found.overall
    assert found.targets(["bad", "ugly"], ["toys", None]).tolist() == [
        found.p_severe("bad", "toys"),
        found.overall,
    ]


def test_no_word_of_a_judge_is_certain():
    found = learn_judge(overlap(("bad", None, 1, 40), ("good", None, 0, 40)))

    assert 0.8 < found.p_severe("bad") < 1
    assert 0 < found.p_severe("good") < 0.2


def test_without_enough_random_overlap_it_says_what_to_do():
    with pytest.raises(
        DataRefused, match=r"gpt: 2 pairs drawn at random .* let people label more of a random sample"
    ):
        learn_judge(overlap(("bad", None, 1, 1), ("good", None, 0, 1)), name="gpt")


def test_people_who_say_one_thing_only_teach_nothing():
    with pytest.raises(DataRefused, match="the same of all 40"):
        learn_judge(overlap(("bad", None, 0, 20), ("good", None, 0, 20)))


def test_it_is_plain_data():
    assert json.loads(json.dumps(learn_judge(SEEN).to_json()))["n"] == 295


@pytest.mark.parametrize("wrong", [float("nan"), 7.0, -0.1])
def test_what_is_no_share_is_refused(wrong):
    with pytest.raises(ValueError, match="from 0 to 1"):
        learn_judge(overlap(("bad", None, wrong, 20), ("good", None, 0, 20)))
    with pytest.raises(ValueError, match="counts"):
        learn_judge(SEEN, pseudo=0)


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.0, "p >= 0.0"), (0.37, "p >= 0.3"), (0.3, "p >= 0.3"), (0.7, "p >= 0.7"), (1.0, "p >= 0.9")],
)
def test_probabilities_count_in_tenths(p, said):
    assert level(label(0, None, "gpt", source=Source.JUDGE, p_severe=p)) == said
