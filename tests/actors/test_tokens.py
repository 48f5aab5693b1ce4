from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import BundleProblem
from actors.tokens import PairTokenizer, Tokens

rows = st.lists(st.lists(st.integers(0, 30_521), max_size=6), max_size=8)


def tokens_of(ids, *, typed=True):
    return Tokens.from_rows(ids, [[i % 2 for i in range(len(row))] for row in ids] if typed else None)


def as_lists(tokens):
    bounds = list(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True))
    ids = [tokens.ids[a:b].tolist() for a, b in bounds]
    types = None if tokens.type_ids is None else [tokens.type_ids[a:b].tolist() for a, b in bounds]
    return ids, types


@given(rows, st.booleans(), st.data())
def test_taking_rows_is_taking_rows(ids, typed, data):
    tokens = tokens_of(ids, typed=typed)
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1))) if ids else []
    assert as_lists(tokens.take(chosen)) == as_lists(tokens_of([ids[i] for i in chosen], typed=typed))


@given(rows, st.booleans(), st.data())
def test_a_slice_is_the_same_rows_in_the_same_memory(ids, typed, data):
    tokens = tokens_of(ids, typed=typed)
    start = data.draw(st.integers(0, len(ids)))
    stop = data.draw(st.integers(start, len(ids)))
    part = tokens.slice(start, stop)
    assert as_lists(part) == as_lists(tokens_of(ids[start:stop], typed=typed))
    assert not part.ids.size or np.shares_memory(part.ids, tokens.ids)


@given(rows, st.booleans(), st.data())
def test_tokens_cross_processes_as_arrow_and_a_slice_of_the_batch_is_a_slice_of_the_pairs(ids, typed, data):
    batch = tokens_of(ids, typed=typed).to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    received = pa.ipc.open_stream(sink.getvalue()).read_next_batch()
    start = data.draw(st.integers(0, len(ids)))
    assert as_lists(Tokens.from_arrow(received.slice(start))) == as_lists(tokens_of(ids[start:], typed=typed))


def test_what_is_added_to_a_pairs_logit_goes_where_the_pair_goes():
    tokens = replace(tokens_of([[1], [2], [3]]), prior=np.array([0.1, 0.2, 0.3], np.float32))
    moved = Tokens.from_arrow(tokens.take([2, 0, 1]).slice(1, 3).to_arrow())
    assert as_lists(moved)[0] == [[1], [2]]
    assert moved.prior.tolist() == tokens.prior[:2].tolist()
    assert Tokens.from_arrow(tokens.to_arrow().slice(2)).prior.tolist() == tokens.prior[2:].tolist()


def test_reading_from_arrow_copies_no_token():
    batch = tokens_of([[1, 2], [3]]).to_arrow()
    values = batch.column("token_ids").values.to_numpy()
    assert np.shares_memory(Tokens.from_arrow(batch).ids, values)


def test_a_pair_is_query_then_document_cut_at_the_longer_one_first(base_bundle):
    tokenizer = PairTokenizer(base_bundle.path, max_tokens=8)
    tokens = tokenizer.encode([("red kettle", "blue " * 20)])
    assert tokens.lengths.tolist() == [8]
    assert tokens.type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_no_pairs_are_no_tokens(base_bundle):
    tokens = PairTokenizer(base_bundle.path, max_tokens=8).encode([])
    assert (len(tokens), tokens.ids.size, tokens.offsets.tolist()) == (0, 0, [0])


@pytest.mark.slow  # importing transformers
@pytest.mark.parametrize("max_tokens", [7, 16, 64])
def test_tokens_are_those_of_transformers_own_tokenizer(base_bundle, max_tokens):
    from transformers import AutoTokenizer

    pairs = [
        ("kettle", "a red kettle, 1.7 l"),
        ("naïve café \u2013 ½ price", "Ünïcode 漢字 and \U0001f600 emoji \x00 \u200b"),
        ("long " * 40, "short"),
        ("short", "long " * 40),
        ("equal " * 40, "equal " * 40),
        ("[SEP] [MASK]", "don't"),
    ]
    queries, documents = map(list, zip(*pairs, strict=True))
    theirs = AutoTokenizer.from_pretrained(base_bundle.path)(
        queries, documents, truncation="longest_first", max_length=max_tokens
    )
    ours = PairTokenizer(base_bundle.path, max_tokens=max_tokens).encode(pairs)
    assert as_lists(ours) == (theirs["input_ids"], theirs["token_type_ids"])


@pytest.mark.parametrize(
    ("file", "said"), [("tokenizer.json", "cannot be used"), ("config.json", "is malformed")]
)
def test_a_tokenizer_that_is_none_is_refused(base_bundle, tmp_path, file, said):
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((base_bundle.path / name).read_bytes())
    (tmp_path / file).write_text("[]")
    with pytest.raises(BundleProblem, match=f"{file} {said}"):
        PairTokenizer(tmp_path, max_tokens=64)


def test_parts_are_joined_in_order_with_all_that_they_have():
    rows, types = [[1, 2], [3], [4, 5, 6]], [[0, 1], [0], [0, 1, 1]]
    whole = replace(Tokens.from_rows(rows, types), prior=np.array([0.5, -1, 2], np.float32))
    joined = Tokens.joined([whole.slice(0, 1), whole.slice(1, 3)])
    assert joined.to_arrow().equals(whole.to_arrow())
    assert Tokens.joined([whole]) is whole
