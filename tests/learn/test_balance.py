from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actors.learn.balance import MOST_SEGMENTS, balance_of_roles, balance_of_segments, count_levels
from tests.label_sets import by_judge, by_people, labels, pairs, sample


def found_in(*rows, of=None):
    of = pairs() if of is None else of
    return sample(labels(of, *(rows or by_people(of))))


def written(value):
    return json.loads(json.dumps(value.to_json(), allow_nan=False))


def test_balance_is_by_cluster_and_by_segment():
    of = pairs()
    found = found_in(of=of)
    roles, (segments, n_left_out) = balance_of_roles(found), balance_of_segments(found)

    assert sum(part.n_pairs for part in roles.values()) == 360
    assert sum(part.n_clusters for part in roles.values()) == 60
    assert (set(segments), n_left_out) == ({"even", "odd"}, 0)
    assert segments["odd"].severe.value == pytest.approx(1 / 3)
    assert written(segments["odd"])["pairs"] == 180


def test_small_segments_beyond_the_largest_are_only_counted():
    of = [replace(one, segment=f"s{i % 70}") for i, one in enumerate(pairs())]
    segments, n_left_out = balance_of_segments(found_in(of=of))

    assert (len(segments), n_left_out) == (MOST_SEGMENTS, 20)


def test_a_level_that_nobody_used_is_counted_too():
    of = pairs()
    counts = count_levels(labels(of, *by_people(of), *by_judge(of, n=9)))

    assert counts["odd"] == {"human": 0, "judge": 0, "weak": 0}
    assert counts["bad"] == {"human": 120, "judge": 3, "weak": 0}
