"""Pairs as token ids, with what their words say: columns that cross processes as Arrow without a copy.

`Tokens` is plain data. `PairTokenizer` fills it with the bundle's own tokenizer, exactly as transformers'
`AutoTokenizer` would, without importing transformers. Neither knows what the ids mean to an encoder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import tokenizers
from numpy.typing import ArrayLike, NDArray

from actors.bundle import read_config
from actors.errors import BundleProblem

_Int = TypeVar("_Int", np.int32, np.int8)

IDS_COLUMN = "token_ids"
TYPES_COLUMN = "type_ids"
PRIOR_COLUMN = "prior"


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Token ids of n pairs, back to back. The arrays may be read-only views: nobody writes to them."""

    ids: NDArray[np.int32]
    """All ids, int32 `[total]`."""
    offsets: NDArray[np.int32]
    """Pair i is `ids[offsets[i]:offsets[i + 1]]`; int32 `[n + 1]`, from 0 to total."""
    type_ids: NDArray[np.int8] | None
    """0 for the query's tokens and 1 for the document's, int8 `[total]`; None where the encoder has none."""
    prior: NDArray[np.float32] | None = None
    """What is added to the encoder's logit, float32 `[n]`; None adds nothing."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens per pair, int32 `[n]`."""
        return np.diff(self.offsets)

    def take(self, rows: ArrayLike) -> Tokens:
        """These pairs, in this order; a row may be taken twice.

        Args:
            rows: Row numbers, integers `[m]`.

        Returns:
            m pairs, copied.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        offsets = _offsets(self.lengths[chosen])
        shift = self.offsets[chosen] - offsets[:-1]
        source = np.arange(offsets[-1], dtype=np.int64) + np.repeat(shift, np.diff(offsets))
        types = None if self.type_ids is None else self.type_ids[source]
        prior = None if self.prior is None else self.prior[chosen]
        return Tokens(self.ids[source], offsets, types, prior)

    def slice(self, start: int, stop: int) -> Tokens:
        """Pairs `start` to `stop`, as a view.

        Args:
            start: First pair.
            stop: One past the last; at most n.

        Returns:
            `stop - start` pairs.
        """
        first, end = self.offsets[start], self.offsets[stop]
        types = None if self.type_ids is None else self.type_ids[first:end]
        prior = None if self.prior is None else self.prior[start:stop]
        return Tokens(self.ids[first:end], self.offsets[start : stop + 1] - first, types, prior)

    @classmethod
    def joined(cls, parts: Sequence[Tokens]) -> Tokens:
        """Pairs of one bundle, one part after the other.

        Args:
            parts: At least one. What one of them has, type ids or a prior, all have.

        Returns:
            All pairs; the part itself where it is alone.
        """
        if len(parts) == 1:
            return parts[0]
        types = [part.type_ids for part in parts if part.type_ids is not None]
        priors = [part.prior for part in parts if part.prior is not None]
        return cls(
            np.concatenate([part.ids for part in parts]),
            _offsets(np.concatenate([part.lengths for part in parts])),
            np.concatenate(types) if types else None,
            np.concatenate(priors) if priors else None,
        )

    def to_arrow(self) -> pa.RecordBatch:
        """A row per pair: `token_ids` list<int32>; where there are any, `type_ids` list<int8>, `prior` float32."""
        offsets = pa.array(self.offsets, pa.int32())
        ragged = {IDS_COLUMN: self.ids, TYPES_COLUMN: self.type_ids}
        columns: dict[str, pa.Array] = {
            name: pa.ListArray.from_arrays(offsets, pa.array(values))
            for name, values in ragged.items()
            if values is not None
        }
        if self.prior is not None:
            columns[PRIOR_COLUMN] = pa.array(self.prior, pa.float32())
        return pa.RecordBatch.from_pydict(columns)

    @classmethod
    def from_arrow(cls, batch: pa.RecordBatch) -> Tokens:
        """Read what `to_arrow` wrote, or any slice of it, as views of the same memory."""
        ids = batch.column(IDS_COLUMN)
        offsets = ids.offsets.to_numpy()
        types = None
        if TYPES_COLUMN in batch.schema.names:
            types = batch.column(TYPES_COLUMN).flatten().to_numpy()
        prior = batch.column(PRIOR_COLUMN).to_numpy() if PRIOR_COLUMN in batch.schema.names else None
        return cls(ids.flatten().to_numpy(), offsets - offsets[0], types, prior)

    @classmethod
    def from_rows(cls, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]] | None) -> Tokens:
        """Lay ragged rows back to back.

        Args:
            ids: Token ids of each pair.
            type_ids: Token types of each pair, of the same lengths, or None.

        Returns:
            The pairs, copied.
        """
        offsets = _offsets([len(row) for row in ids])
        types = None if type_ids is None else _flat(type_ids, np.int8, offsets[-1])
        return cls(_flat(ids, np.int32, offsets[-1]), offsets, types)


class PairTokenizer:
    """Turns pairs of texts into `Tokens`, one thread per process.

    The longer text gives way first when a pair exceeds `max_tokens`. Encodes on one thread, unless the
    process's `TOKENIZERS_PARALLELISM` says otherwise: actors are what multiplies, not their threads.

    Args:
        folder: The bundle's folder, which holds `tokenizer.json` and `config.json`.
        max_tokens: Ceiling on the tokens of a pair, special tokens included.

    Raises:
        BundleProblem: The tokenizer or the configuration is malformed, or `max_tokens` leaves no room for text.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # read by the Rust side at each call
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        except Exception as error:  # the Rust side raises nothing narrower
            raise BundleProblem(str(folder), f"tokenizer.json cannot be used: {error}") from error
        self._has_types = has_types(read_config(folder))

    def encode(self, pairs: Sequence[tuple[str, str]]) -> Tokens:
        """Tokenize, in order.

        Args:
            pairs: Query text and document text; Unicode without lone surrogates.

        Returns:
            As many pairs of tokens.
        """
        encodings = self._tokenizer.encode_batch_fast(pairs)
        types = [encoding.type_ids for encoding in encodings] if self._has_types else None
        return Tokens.from_rows([encoding.ids for encoding in encodings], types)


def has_types(config: Mapping[str, Any]) -> bool:
    """Whether an encoder is told a token's side: by its `config.json`."""
    return bool(config.get("type_vocab_size", 0) > 1)


def _offsets(lengths: ArrayLike) -> NDArray[np.int32]:
    offsets = np.zeros(np.size(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _flat(rows: Sequence[Sequence[int]], dtype: type[_Int], total: int) -> NDArray[_Int]:
    return np.fromiter((value for row in rows for value in row), dtype=dtype, count=total)
