"""Messages are what the decoder reads back, whatever the mixture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.candidates import Batching, Row, messages
from pipeline.codec import Limits, decode
from pipeline.records import Record

LIMITS = Limits(max_chars=1000, max_message_bytes=1 << 20, max_reject_bytes=1 << 16)

sides = st.one_of(
    st.text(min_size=1), st.dictionaries(st.text(min_size=1, max_size=5), st.text(), min_size=1, max_size=3)
)
candidates = st.lists(st.builds(Row, st.text(min_size=1, max_size=20), sides, sides), max_size=30)
batchings = st.builds(Batching, st.floats(0, 1), st.integers(1, 9))


def as_fields(side):
    return {"text": side} if isinstance(side, str) else dict(side)


def decoded(found):
    records = [Record(at, 0, m.key, m.value, m.headers) for at, m in enumerate(found)]
    return decode(records, LIMITS)


@given(candidates, batchings)
def test_every_candidate_comes_back_as_it_was_in_its_order(rows, batching):
    found, rejected = decoded(messages(rows, batching))
    assert rejected == []
    assert found.candidate_id == [row.candidate_id for row in rows]
    assert [dict(fields) for fields in found.query] == [as_fields(row.query) for row in rows]
    assert [dict(fields) for fields in found.document] == [as_fields(row.document) for row in rows]


@given(st.integers(0, 300), batchings)
def test_the_share_in_batches_is_nearly_reached_and_never_exceeded(n, batching):
    made = list(messages((Row(str(i), "q", "d") for i in range(n)), batching))
    n_batched = sum(message.n_candidates for message in made if message.headers)
    assert sum(message.n_candidates for message in made) == n
    assert n_batched <= batching.share * n + 1e-6 or batching.share == 1
    assert n_batched > batching.share * n - batching.rows - 1


def test_a_message_is_keyed_by_its_first_candidate():
    rows = [Row(name, "q", "d") for name in "abcde"]
    assert [message.key for message in messages(rows, Batching(1, rows=2))] == [b"a", b"c", b"e"]


@pytest.mark.parametrize("batching", [Batching(), Batching(1, rows=2)])
def test_what_a_candidate_lacks_is_for_the_gate_to_reject(batching):
    rows = [Row(None, "q", "d", sound=False), Row("b", None, "d", sound=False), Row("c", "q", "d")]
    made = list(messages(rows, batching))
    found, rejected = decoded(made)
    assert found.candidate_id == ["c"]
    assert len(rejected) == sum(message.n_malformed for message in made) == 2
    assert sum(message.n_candidates for message in made) == 1


def test_a_share_beyond_all_is_refused():
    with pytest.raises(ValueError, match="share"):
        Batching(1.5)
