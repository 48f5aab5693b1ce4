"""Pairs that an earlier run scored: found by the digest of what they hold, so that they are not scored again.

Promises that a pair which is found has the fields that it had, all of them, and so the score. Takes 25 bytes for
each earlier verdict, in arrays that processes share. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from actors.pairs import Fields
from actors.scorer import Scores

_DIGEST_BYTES = 16


def digests(queries: Sequence[Fields], documents: Sequence[Fields]) -> NDArray[np.uint64]:
    """A digest of each pair, over all of its fields: whatever a score may follow from.

    Args:
        queries: Query-side fields, n of them.
        documents: Document-side fields, n of them.

    Returns:
        uint64 `[n, 2]`.
    """
    written = (
        orjson.dumps(pair, option=orjson.OPT_SORT_KEYS) for pair in zip(queries, documents, strict=True)
    )
    joined = b"".join(blake2b(pair, digest_size=_DIGEST_BYTES).digest() for pair in written)
    return np.frombuffer(joined, np.uint64).reshape(-1, 2)


def as_column(pairs: NDArray[np.uint64]) -> pa.FixedSizeBinaryArray:
    """Digests for a file of Parquet."""
    kind = pa.binary(_DIGEST_BYTES)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(pairs), [None, pa.py_buffer(pairs.tobytes())])


class Known:
    """Scores by the digest of the pair. Plain arrays: another process gets it without a copy.

    Args:
        pairs: Digests, uint64 `[n, 2]`.
        scores: What was said of them, n entries.
    """

    def __init__(self, pairs: NDArray[np.uint64], scores: Scores) -> None:
        order = np.argsort(pairs[:, 0], kind="stable")
        self._pairs = pairs[order]
        self._scores = Scores(scores.logit[order], scores.relevance[order], scores.action[order])

    def __len__(self) -> int:
        return len(self._pairs)

    def find(self, pairs: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], Scores]:
        """Look pairs up.

        Args:
            pairs: Digests, uint64 `[n, 2]`.

        Returns:
            Which of them are known, bool `[n]`; and what was said of those, in order.
        """
        at = np.searchsorted(self._pairs[:, 0], pairs[:, 0])
        # Of two pairs that share half of their digests one may be missed: it is scored again, and that is all.
        at[at == len(self)] = 0
        found = (self._pairs[at] == pairs).all(axis=1) if len(self) else np.zeros(len(pairs), np.bool_)
        at = at[found]
        return found, Scores(self._scores.logit[at], self._scores.relevance[at], self._scores.action[at])


def as_digests(column: pa.FixedSizeBinaryArray) -> NDArray[np.uint64]:
    """What `as_column` wrote, or any slice of it, uint64 `[n, 2]`; a view."""
    every = np.frombuffer(column.buffers()[1], np.uint64).reshape(-1, 2)
    return every[column.offset : column.offset + len(column)]
