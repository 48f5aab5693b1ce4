"""In which batches pairs are learned from: of like length, drawn anew for each epoch, or in their order.

Promises each pair once an epoch, and the same batches for the same seed and epoch, so that a run which was
interrupted can go on. sentence-transformers knows neither order, and ignores the trainer's own settings for them.
Needs the `train` extra.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

_CHUNK_BATCHES = 16
"""Batches are cut from so many batches' worth of pairs at a time, sorted by length: little padding, and still
another company in each epoch."""


class Batches(DefaultBatchSampler):  # type: ignore[misc]  # untyped here
    """Batches of pairs, by their places.

    Args:
        lengths: Of the pairs, in any unit, int64 `[n]`; None keeps their order.
        n: How many pairs.
        batch_size: Pairs in a batch; the last one may have fewer.
        seed: Names the draw.
    """

    def __init__(self, lengths: NDArray[np.int64] | None, n: int, batch_size: int, seed: int) -> None:
        super().__init__(SequentialSampler(range(n)), batch_size=batch_size, drop_last=False, seed=seed)
        self._lengths = lengths
        self._n = n

    def __iter__(self) -> Iterator[list[int]]:
        if self._lengths is None:
            yield from (
                [*range(i, min(i + self.batch_size, self._n))] for i in range(0, self._n, self.batch_size)
            )
            return
        draw = np.random.default_rng([self.seed, self.epoch])
        order = draw.permutation(self._n)
        chunk = self.batch_size * _CHUNK_BATCHES
        batches = []
        for start in range(0, self._n, chunk):
            part = order[start : start + chunk]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            batches += [part[i : i + self.batch_size].tolist() for i in range(0, len(part), self.batch_size)]
        yield from (batches[i] for i in draw.permutation(len(batches)))

    def __len__(self) -> int:
        return math.ceil(self._n / int(self.batch_size))
