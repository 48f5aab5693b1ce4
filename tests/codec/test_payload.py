"""What is unpacked equals what was packed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.tokens import Tokens
from pipeline.codec import (
    Origins,
    Work,
    decode,
    encode_batches,
    pack_outputs,
    pack_work,
    unpack_outputs,
    unpack_work,
)
from pipeline.records import Output, Reason, Record, Rejected, Route, Stage
from tests.codec.examples import BAD, LIMITS, json_record
from tests.messages import all_of

BYTES = st.none() | st.binary(max_size=20)
HEADERS = st.lists(st.tuples(st.text(max_size=9), BYTES), max_size=3)
OUTPUTS = st.lists(st.builds(Output, st.sampled_from(Route), BYTES, BYTES, HEADERS), max_size=8)
BATCHES = OUTPUTS.map(encode_batches)
RECORDS = st.lists(
    st.builds(Record, st.integers(0, 2**62), st.integers(-1, 2**62), BYTES, BYTES, HEADERS), max_size=8
)
REJECTED = st.lists(
    st.builds(
        Rejected,
        st.integers(0, 2**31 - 1),
        st.integers(-1, 2**31 - 1),
        st.sampled_from(Reason),
        st.sampled_from(Stage),
        st.text(),
    ),
    max_size=8,
)
NO_TOKENS = pa.RecordBatch.from_pydict({"token_ids": pa.array([], pa.list_(pa.int32()))})
NO_ORIGINS = Origins(np.zeros(0, np.int32), np.zeros(0, np.int32), pa.array([], pa.string()))


def plain(messages):
    """The same with headers as lists: which kind of sequence they are does not matter."""
    return [message._replace(headers=list(message.headers)) for message in messages]


@given(BATCHES)
def test_batches_come_back_as_they_were(batches):
    assert unpack_outputs(pack_outputs(all_of(batches))) == batches


@given(RECORDS, REJECTED)
def test_records_and_rejects_come_back_as_they_were(records, rejected):
    work = unpack_work(pack_work(Work(records, NO_ORIGINS, NO_TOKENS, rejected)))
    assert (plain(work.records), work.rejected) == (records, rejected)


def test_records_without_headers_have_no_column_for_them():
    bare = [Record(at, 0, None, b"v", ()) for at in range(1000)]
    one = [bare[0]._replace(headers=[("", b"")]), *bare[1:]]
    packed, more = (pack_work(Work(records, NO_ORIGINS, NO_TOKENS, [])) for records in (bare, one))
    assert len(packed) < len(more)
    assert [list(record.headers) for record in unpack_work(packed).records] == [[]] * 1000


def test_everything_that_scoring_needs_crosses():
    records = [json_record(0), *(bad.record for bad in BAD.values())]
    candidates, rejected = decode(records, LIMITS)
    kept = list(range(0, len(candidates), 2))
    tokens = Tokens.from_rows([[row, row + 1] for row in kept], None)
    work = Work(records, Origins.of(candidates, kept), tokens.to_arrow(), rejected)
    crossed = unpack_work(pack_work(work))
    assert plain(crossed.records) == plain(records)
    assert crossed.rejected == rejected
    assert crossed.origins.candidate_id.to_pylist() == [candidates.candidate_id[at] for at in kept]
    assert crossed.origins.record.tolist() == [candidates.record[at] for at in kept]
    assert crossed.origins.row.tolist() == [candidates.row[at] for at in kept]
    assert Tokens.from_arrow(crossed.columns).ids.tolist() == tokens.ids.tolist()


def test_origins_and_columns_are_views_of_the_buffer():
    work = Work(
        [json_record()],
        Origins(np.zeros(9, np.int32), np.arange(9, dtype=np.int32), pa.array(["a"] * 9)),
        pa.RecordBatch.from_pydict({"token_ids": np.arange(9)}),
        [],
    )
    packed = pack_work(work)
    crossed, whole = unpack_work(packed), pa.py_buffer(packed)
    assert not crossed.origins.row.flags.owndata
    columns = (crossed.origins.row, crossed.origins.candidate_id, crossed.columns["token_ids"])
    for buffer in (part for column in columns for part in pa.array(column).buffers() if part is not None):
        assert whole.address <= buffer.address < whole.address + whole.size
