"""Which pairs go through the encoder together, and at what width, so that company never shows.

A pair is padded to a width that follows from its own length alone, and a piece holds pairs of one width:
what the encoder computes for a pair has the same shapes whoever is scored beside it. Pure; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.errors import RowTooLong
from actors.tokens import Tokens

# Widths in steps of 16: at most 15 tokens of padding, few distinct shapes, and what tensor cores like.
WIDTH_STEP = 16


class Piece(NamedTuple):
    """Consecutive rows of a length-sorted batch that go through the encoder at once."""

    start: int
    """First row."""
    stop: int
    """One past the last row."""
    width: int
    """Tokens per row, padding included."""


class PaddedBatch(NamedTuple):
    """What an encoder reads: pairs of one width, padded on the right."""

    ids: NDArray[np.int32]
    """Token ids, int32 `[n, width]`."""
    type_ids: NDArray[np.int8] | None
    """Token types, int8 `[n, width]`, or None."""
    mask: NDArray[np.bool_]
    """True where there is a token, bool `[n, width]`."""


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


def spelled(tokens: Tokens) -> list[bytes]:
    """Each pair as bytes, equal where the encoder reads the same.

    Args:
        tokens: Pairs, n of them.

    Returns:
        n spellings. Whoever has one of them can tell no other pair's.
    """
    # Bytes are hashed at C speed. A spelling is five times as long as the pair, or four: its seam is never in
    # doubt.
    ids, size = tokens.ids.tobytes(), tokens.ids.itemsize
    types = b"" if tokens.type_ids is None else tokens.type_ids.tobytes()
    bounds = pairwise(tokens.offsets.tolist())
    return [ids[size * start : size * stop] + types[start:stop] for start, stop in bounds]


def distinct(spellings: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find identical pairs: the rows to score, and for every row its place among them.

    Args:
        spellings: See `spelled`, n of them.

    Returns:
        First occurrences int64 `[m]`, ascending, and places int64 `[n]`: row i is the same pair as row
        `first[place[i]]`.
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    place = np.empty(len(spellings), dtype=np.int64)
    for row, spelling in enumerate(spellings):
        place[row] = seen.setdefault(spelling, len(first))
        if place[row] == len(first):
            first.append(row)
    return np.asarray(first, dtype=np.int64), place


def pack(widths: Sequence[int] | NDArray[np.int64], *, budget_tokens: int) -> list[Piece]:
    """Cut a width-sorted batch into pieces of one width that fit the padded token budget.

    Keeps order. A piece costs its width times its row count; only as many pieces as needed.

    Args:
        widths: Padded tokens per row, sorted either way.
        budget_tokens: Ceiling on the padded tokens of a piece.

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
        rows = budget_tokens // width
        pieces += [Piece(at, min(at + rows, stop), width) for at in range(start, stop, rows)]
    return pieces


def pad(tokens: Tokens, *, width: int, pad_id: int) -> PaddedBatch:
    """Lay pairs out as a rectangle, padded on the right with `pad_id` and type 0.

    Args:
        tokens: Pairs of at most `width` tokens.
        width: Tokens per row.
        pad_id: The encoder's padding token.

    Returns:
        Arrays of shape `[n, width]`.
    """
    mask = np.arange(width) < tokens.lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int32)
    ids[mask] = tokens.ids
    if tokens.type_ids is None:
        return PaddedBatch(ids, None, mask)
    type_ids = np.zeros(mask.shape, dtype=np.int8)
    type_ids[mask] = tokens.type_ids
    return PaddedBatch(ids, type_ids, mask)
