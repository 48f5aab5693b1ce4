from __future__ import annotations

import pytest

from actors.learn.reading import read_labels
from tests.learn.label_files import COLUMNS, RUBRIC


@pytest.mark.parametrize(
    ("said", "severe", "share"),
    [
        (["bad", "bad", "good"], True, 2 / 3),
        (["bad", "good"], False, 0.5),
        (["odd", "good", "bad"], False, 1 / 3),
    ],
)
def test_the_majority_of_people_settles_a_pair_and_a_tie_is_not_severe(written, said, severe, share):
    rows = [{"level": level, "name": str(i)} for i, level in enumerate(said)]
    settled = read_labels(written(*rows, {"t": "Lamp", "level": "bad"}), COLUMNS, RUBRIC).settled

    assert settled.severe[0] == severe
    assert settled.share_severe[0] == pytest.approx(share)


def test_of_a_person_who_spoke_twice_the_last_word_counts_once(written):
    """The share that is learned from counted both, while agreement counted one."""
    again = ({"level": "bad"}, {"name": "b"}, {"level": "bad"}, {"level": "bad"})
    settled = read_labels(written(*again), COLUMNS, RUBRIC).settled
    assert (settled.severe.tolist(), settled.share_severe.tolist()) == ([False], [0.5])

    nameless = read_labels(written(*(row | {"name": None} for row in again)), COLUMNS, RUBRIC).settled
    assert settled.pair.tolist() == nameless.pair.tolist()
    assert nameless.share_severe.tolist() == [0.75]


def test_an_adjudicated_row_settles_a_pair_against_any_majority(written):
    rows = [{"level": "bad", "name": "a"}, {"level": "bad", "name": "b"}, {"level": "good", "final": True}]
    settled = read_labels(written(*rows, {"t": "Lamp"}), COLUMNS, RUBRIC).settled

    assert settled.severe.tolist() == [False, False]


def test_a_judge_settles_nothing_and_what_was_gathered_by_score_is_no_sample(written):
    rows = [{"who": "judge", "level": "bad"}, {"t": "Lamp", "how": "by_score"}, {"t": "Pan"}]
    settled = read_labels(written(*rows), COLUMNS, RUBRIC).settled

    assert settled.pair.tolist() == [1, 2]
    assert settled.random.tolist() == [False, True]
