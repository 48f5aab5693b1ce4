from __future__ import annotations

import numpy as np

from actors.learn.batches import Batches


def test_batches_are_of_like_length_and_hold_each_pair_once_and_differ_between_epochs():
    lengths = np.random.default_rng(0).integers(5, 400, 1_000)
    batches = Batches(lengths, len(lengths), 16, seed=3)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    assert len(batches) == len(first)
    assert sorted(i for batch in first for i in batch) == list(range(1_000))
    assert first != second
    padded = sum(len(batch) * lengths[batch].max() for batch in first)
    assert padded < 1.15 * lengths.sum()


def test_a_curriculum_keeps_its_order():
    assert list(Batches(None, 5, 2, seed=3)) == [[0, 1], [2, 3], [4]]
