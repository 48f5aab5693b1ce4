from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.batching import (
    PAIR_STEP,
    ROW_STEP,
    WIDTH_STEP,
    distinct,
    lay_packed,
    pack,
    pack_mixed,
    pad,
    padded_widths,
    spelled,
)
from actors.errors import RowTooLong
from actors.tokens import Tokens

lengths = st.lists(st.integers(1, 100), max_size=40)
budgets = st.integers(112, 600)  # 100 tokens padded, and up


@given(lengths)
def test_a_width_holds_its_pair_and_follows_from_its_length_alone(lengths):
    widths = padded_widths(lengths, n_positions=100)
    for length, width in zip(lengths, widths, strict=True):
        assert length <= width <= min(100, length + WIDTH_STEP - 1)
        assert width % WIDTH_STEP == 0 or width == 100
        assert width == padded_widths([length], n_positions=100)


def test_an_encoder_without_a_limit_gets_whole_steps():
    assert padded_widths([1, 16, 17, 600]).tolist() == [16, 16, 32, 608]


@given(lengths, budgets)
def test_pieces_cover_every_row_once_in_order(lengths, budget):
    widths = np.sort(padded_widths(lengths, n_positions=128))[::-1]
    covered = [row for start, stop, _ in pack(widths, budget_tokens=budget) for row in range(start, stop)]
    assert covered == list(range(len(lengths)))


@given(lengths, budgets)
def test_a_piece_has_one_width_and_keeps_the_budget(lengths, budget):
    widths = np.sort(padded_widths(lengths, n_positions=128))[::-1]
    for start, stop, width in pack(widths, budget_tokens=budget):
        assert set(widths[start:stop].tolist()) == {width}
        assert (stop - start) * width <= budget


def test_pieces_are_as_few_as_the_budget_allows():
    assert pack([32, 32, 32, 16, 16], budget_tokens=64) == [(0, 2, 32), (2, 3, 32), (3, 5, 16)]


def test_a_row_beyond_the_budget_is_refused():
    with pytest.raises(RowTooLong) as caught:
        pack([48, 16], budget_tokens=32)
    assert (caught.value.n_tokens, caught.value.budget_tokens) == (48, 32)


few_ids = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=3), max_size=12)


@given(few_ids, st.booleans())
def test_distinct_finds_each_pair_once_and_every_row_finds_itself(ids, typed):
    types = [[len(row) % 2] * len(row) for row in ids] if typed else None
    first, place = distinct(spelled(Tokens.from_rows(ids, types)))
    assert len({tuple(ids[row]) for row in first}) == len(first)
    assert [ids[first[at]] for at in place] == ids
    assert first.tolist() == sorted(first)


def test_pairs_that_differ_only_in_where_the_document_begins_are_distinct():
    first, place = distinct(spelled(Tokens.from_rows([[5, 6], [5, 6], [5, 6]], [[0, 0], [0, 1], [0, 0]])))
    assert (first.tolist(), place.tolist()) == ([0, 1], [0, 1, 0])


def test_padding_is_on_the_right_and_masked():
    batch = pad(Tokens.from_rows([[7, 8, 9], [5]], [[0, 1, 1], [1]]), width=4, pad_id=3)
    assert batch.ids.tolist() == [[7, 8, 9, 3], [5, 3, 3, 3]]
    assert batch.type_ids.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True, False], [True, False, False, False]]


def test_an_encoder_without_types_gets_none():
    assert pad(Tokens.from_rows([[7]], None), width=16, pad_id=0).type_ids is None


def test_rows_beyond_the_given_ones_are_idle_and_see_themselves():
    batch = pad(Tokens.from_rows([[7, 8]], [[0, 1]]), width=3, pad_id=3, step=2)
    assert batch.ids.tolist() == [[7, 8, 3], [3, 3, 3]]
    assert batch.mask.tolist() == [[True, True, False], [True, False, False]]


@given(st.lists(st.integers(1, 60), max_size=99), st.integers(60, 3_000))
def test_pieces_of_any_length_cover_every_row_within_the_budget(lengths, budget):
    pieces = pack_mixed(lengths, budget_tokens=budget)
    assert [row for start, stop, _ in pieces for row in range(start, stop)] == list(range(len(lengths)))
    for start, stop, width in pieces:
        assert sum(lengths[start:stop]) <= max(budget, ROW_STEP)
        assert width == max(lengths[start:stop])
        room = max(budget // ROW_STEP, 1) * ROW_STEP
        assert stop == len(lengths) or sum(lengths[start : stop + 1]) > room


def test_a_pair_beyond_the_budget_is_refused_whatever_is_beside_it():
    with pytest.raises(RowTooLong) as caught:
        pack_mixed([16, 48], budget_tokens=32)
    assert (caught.value.n_tokens, caught.value.budget_tokens) == (48, 32)


@given(st.lists(st.integers(1, 40), max_size=90), st.booleans())
def test_pairs_lie_back_to_back_and_idle_ones_after_them(lengths, typed):
    rows = [list(range(1, n + 1)) for n in lengths]
    batch = lay_packed(Tokens.from_rows(rows, rows if typed else None), longest=40, pad_id=0)
    assert len(batch.ids) % ROW_STEP == len(batch.bounds[1:]) % PAIR_STEP == 0
    used = sum(lengths)
    if typed:
        assert batch.type_ids[:used].tolist() == batch.ids[:used].tolist()
        assert not batch.type_ids[used:].any()
    else:
        assert batch.type_ids is None
    pairs = list(pairwise(batch.bounds.tolist()))
    assert (pairs[0][0], pairs[-1][1]) == (0, len(batch.ids))
    assert [batch.ids[start:stop].tolist() for start, stop in pairs[: len(rows)]] == rows
    assert not batch.ids[pairs[len(rows) - 1][1] if rows else 0 :].any()
    for start, stop in pairs:
        assert 0 <= stop - start <= 40
        assert batch.positions[start:stop].tolist() == list(range(stop - start))


def test_a_pair_longer_than_the_longest_is_refused():
    with pytest.raises(ValueError, match="has 3 tokens, 2 were said"):
        lay_packed(Tokens.from_rows([[1], [1, 2, 3]], None), longest=2, pad_id=0)


def test_pieces_come_in_multiples_of_idle_rows_whatever_the_budget():
    assert pack([32] * 5, budget_tokens=96, step=2) == [(0, 2, 32), (2, 4, 32), (4, 5, 32)]
    assert pack([32] * 5, budget_tokens=33, step=4) == [(0, 4, 32), (4, 5, 32)]


def test_pairs_that_crossed_processes_are_told_apart():
    whole = Tokens.from_rows([[9], [5, 6], [5], [5, 6]], [[0], [0, 1], [0], [0, 1]])
    part = Tokens.from_arrow(whole.to_arrow().slice(1))
    first, place = distinct(spelled(part))
    assert (first.tolist(), place.tolist()) == ([0, 1], [0, 1, 0])
