"""Which pairs go through the encoder together, and how they are laid out, so that company never shows.

Padded, where an encoder reads rectangles: to a width that follows from a pair's own length alone, and a piece
holds pairs of one width. Packed, where it reads pairs back to back: with idle rows after them, so that products
have few distinct shapes. Pure; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from actors.errors import RowTooLong
from actors.tokens import Tokens

# Widths in steps of 16: at most 15 tokens of padding, few distinct shapes, and what tensor cores like.
WIDTH_STEP = 16
ROW_STEP = 1024
"""Rows of a packed batch come in multiples of it."""
PAIR_STEP = 64
"""Pairs of a packed batch likewise, idle ones included; and of a padded one on a GPU."""


class Piece(NamedTuple):
    """Consecutive rows of a length-sorted batch that go through the encoder at once."""

    start: int
    """First row."""
    stop: int
    """One past the last row."""
    width: int
    """Tokens of its longest row, padding included."""


class PaddedBatch(NamedTuple):
    """What an encoder reads: pairs of one width, padded on the right."""

    ids: NDArray[np.int32]
    """Token ids, int32 `[n, width]`."""
    type_ids: NDArray[np.int8] | None
    """Token types, int8 `[n, width]`, or None."""
    mask: NDArray[np.bool_]
    """True where there is a token, bool `[n, width]`."""


class PackedBatch(NamedTuple):
    """What an encoder reads where nothing is padded: pairs back to back, then idle rows."""

    ids: NDArray[np.int32]
    """Token ids, int32 `[rows]`."""
    type_ids: NDArray[np.int8] | None
    """Token types, int8 `[rows]`, or None."""
    positions: NDArray[np.int32]
    """Each token's place in its pair, int32 `[rows]`, from 0."""
    bounds: NDArray[np.int32]
    """Pair i is rows `bounds[i]` to `bounds[i + 1]`; int32 `[m + 1]`, ascending from 0 to `rows`. The pairs after
    the given ones are idle, and may be empty."""


def padded_widths(lengths: ArrayLike, *, n_positions: int | None = None) -> NDArray[np.int64]:
    """The width of each pair: its length rounded up to a multiple of `WIDTH_STEP`, at most `n_positions`.

    Args:
        lengths: Tokens per pair, each at most `n_positions`.
        n_positions: The encoder's own limit, which no padding may pass; None where it has none.

    Returns:
        Tokens per pair with its padding, int64 `[n]`.
    """
    widths: NDArray[np.int64] = -(-np.asarray(lengths, dtype=np.int64) // WIDTH_STEP) * WIDTH_STEP
    return widths if n_positions is None else np.minimum(widths, n_positions)


def spelled(tokens: Tokens) -> pa.LargeBinaryArray:
    """Each pair as bytes, equal where the encoder reads the same.

    Args:
        tokens: Pairs, n of them.

    Returns:
        n spellings. Whoever has one of them can tell no other pair's.
    """
    ids = np.ascontiguousarray(tokens.ids).view(np.uint8).reshape(-1, tokens.ids.itemsize)
    each = ids if tokens.type_ids is None else np.column_stack([ids, tokens.type_ids.view(np.uint8)])
    bounds = tokens.offsets.astype(np.int64) * each.shape[1]
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(each))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(tokens), buffers)


def distinct(spellings: pa.LargeBinaryArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find identical pairs: the rows to score, and for every row its place among them.

    Args:
        spellings: See `spelled`, n of them.

    Returns:
        First occurrences int64 `[m]`, ascending, and places int64 `[n]`: row i is the same pair as row
        `first[place[i]]`.
    """
    # Arrow hashes bytes fifteen times as fast as a loop here would, and numbers them by their first occurrence.
    encoded = spellings.dictionary_encode()
    place = encoded.indices.to_numpy().astype(np.int64)
    first = np.empty(len(encoded.dictionary), np.int64)
    first[place[::-1]] = np.arange(len(place))[::-1]
    return first, place


def pack(widths: Sequence[int] | NDArray[np.int64], *, budget_tokens: int, step: int = 1) -> list[Piece]:
    """Cut a width-sorted batch into pieces of one width that fit the padded token budget.

    Keeps order. A piece costs its width times its row count; only as many pieces as needed.

    Args:
        widths: Padded tokens per row, sorted either way.
        budget_tokens: Ceiling on the padded tokens of a piece; what `step` rows take, where that is more.
        step: Rows come in multiples of it, idle ones among them.

    Returns:
        The pieces, in row order, without gaps.

    Raises:
        RowTooLong: One row alone exceeds the budget.
    """
    sorted_widths = np.asarray(widths, dtype=np.int64)
    edges = np.flatnonzero(np.diff(sorted_widths)) + 1
    bounds = [0, *edges.tolist(), len(sorted_widths)] if len(sorted_widths) else []
    pieces: list[Piece] = []
    for start, stop in pairwise(bounds):
        width = int(sorted_widths[start])
        if width > budget_tokens:
            raise RowTooLong(width, budget_tokens)
        rows = max(budget_tokens // width // step, 1) * step
        pieces += [Piece(at, min(at + rows, stop), width) for at in range(start, stop, rows)]
    return pieces


def pad(tokens: Tokens, *, width: int, pad_id: int, step: int = 1) -> PaddedBatch:
    """Lay pairs out as a rectangle, padded on the right with `pad_id` and type 0.

    Args:
        tokens: Pairs of at most `width` tokens, n of them.
        width: Tokens per row.
        pad_id: The encoder's padding token.
        step: Rows come in multiples of it: those after the given ones are idle.

    Returns:
        Arrays of shape `[rows, width]`, whose first n rows are the given pairs.
    """
    shape = _up(len(tokens), step), width
    mask = np.zeros(shape, dtype=np.bool_)
    mask[: len(tokens)] = np.arange(width) < tokens.lengths[:, None]
    ids = np.full(shape, pad_id, dtype=np.int32)
    ids[mask] = tokens.ids
    type_ids = None
    if tokens.type_ids is not None:
        type_ids = np.zeros(shape, dtype=np.int8)
        type_ids[mask] = tokens.type_ids
    mask[len(tokens) :, 0] = True  # attention to nothing is no number
    return PaddedBatch(ids, type_ids, mask)


def pack_mixed(lengths: Sequence[int] | NDArray[np.integer[Any]], *, budget_tokens: int) -> list[Piece]:
    """Cut a batch into pieces of pairs of any length that fit the token budget.

    Args:
        lengths: Tokens per row.
        budget_tokens: Ceiling on the tokens of a piece, idle rows among them; `ROW_STEP`, where that is more.

    Returns:
        The pieces, in row order, without gaps.

    Raises:
        RowTooLong: One row alone exceeds the budget.
    """
    ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
    if len(ends) and (longest := int(np.max(lengths))) > budget_tokens:
        raise RowTooLong(longest, budget_tokens)
    room = max(budget_tokens // ROW_STEP, 1) * ROW_STEP
    pieces: list[Piece] = []
    start, before = 0, 0
    while start < len(ends):
        stop = int(np.searchsorted(ends, before + room, side="right"))
        pieces.append(Piece(start, stop, int(np.max(lengths[start:stop]))))
        start, before = stop, int(ends[stop - 1])
    return pieces


def lay_packed(tokens: Tokens, *, longest: int, pad_id: int) -> PackedBatch:
    """Lay pairs back to back, and idle ones after them up to multiples of `ROW_STEP` rows and `PAIR_STEP` pairs.

    Args:
        tokens: Pairs, n of them, of at most `longest` tokens.
        longest: Ceiling on the tokens of an idle pair.
        pad_id: The token that idle rows hold.

    Returns:
        A batch whose first n pairs are the given ones.

    Raises:
        ValueError: A pair is longer.
    """
    if len(tokens) and tokens.lengths.max() > longest:
        raise ValueError(f"a pair has {tokens.lengths.max()} tokens, {longest} were said to be the most")
    n, used = len(tokens), len(tokens.ids)
    rows = _up(used, ROW_STEP)
    pairs = _up(n + -(-(rows - used) // longest), PAIR_STEP)
    idle = np.minimum(used + longest * np.arange(1, pairs - n + 1), rows)
    bounds = np.concatenate([tokens.offsets, idle]).astype(np.int32)
    ids = np.full(rows, pad_id, np.int32)
    ids[:used] = tokens.ids
    types = None
    if tokens.type_ids is not None:
        types = np.zeros(rows, np.int8)
        types[:used] = tokens.type_ids
    positions = np.arange(rows, dtype=np.int32) - np.repeat(bounds[:-1], np.diff(bounds))
    return PackedBatch(ids, types, positions, bounds)


def _up(n: int, step: int) -> int:
    return max(-(-n // step), 1) * step
