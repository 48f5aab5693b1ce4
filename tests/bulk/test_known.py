"""A pair is found again if all of its fields are what they were."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.scorer import Scores
from pipeline.bulk.known import Known, as_column, as_digests, digests

FIELDS = st.dictionaries(st.text("ab:\x00", max_size=2), st.text("ab:\x00", max_size=3), max_size=3)


def scores(n: int) -> Scores:
    return Scores(np.arange(n, dtype=np.float32), -np.arange(n, dtype=np.float32), np.full(n, 2, np.int8))


@given(st.tuples(FIELDS, FIELDS), st.tuples(FIELDS, FIELDS))
def test_two_digests_are_equal_if_the_pairs_are(one, other) -> None:
    first, second = digests([one[0], other[0]], [one[1], other[1]])
    assert (first.tolist() == second.tolist()) == (one == other)


def test_the_order_of_fields_does_not_matter() -> None:
    first, second = digests([{}, {}], [{"a": "1", "b": "2"}, {"b": "2", "a": "1"}])
    assert first.tolist() == second.tolist()


@given(st.sets(st.integers(0, 50)), st.lists(st.integers(0, 60)))
def test_what_is_known_is_found_with_its_own_score(known, asked) -> None:
    held = sorted(known, reverse=True)
    pairs = digests([{"n": str(n)} for n in held], [{}] * len(held))
    found, said = Known(pairs, scores(len(held))).find(
        digests([{"n": str(n)} for n in asked], [{}] * len(asked))
    )
    assert found.tolist() == [n in known for n in asked]
    assert said.logit.tolist() == [held.index(n) for n in asked if n in known]


def test_half_a_digest_is_none() -> None:
    known = Known(np.array([[1, 2]], np.uint64), scores(1))
    found, _ = known.find(np.array([[1, 3], [1, 2], [2, 2]], np.uint64))
    assert found.tolist() == [False, True, False]


def test_digests_survive_a_file_also_in_slices() -> None:
    pairs = digests([{"n": str(n)} for n in range(5)], [{}] * 5)
    column = as_column(pairs)
    assert column.type == pa.binary(16)
    assert as_digests(column).tolist() == pairs.tolist()
    assert as_digests(column.slice(2, 2)).tolist() == pairs[2:4].tolist()
