"""What pruning more would cost: precision against the share pruned, as the threshold moves.

Promises estimates that count as the promise counts, at most `cap` pruned pairs of a cluster, with cluster
intervals; nothing here is promised, and no threshold is chosen by it. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.learn.bootstrap import Estimate, intervals
from actors.learn.evaluate import Judged
from actors.learn.metrics import precision_capped

N_POINTS = 30


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold, and what it would do."""

    threshold: float
    """Logit from which pairs are pruned."""
    share: float
    """Of the pairs, pruned."""
    precision: Estimate
    """Capped."""


def curve(judged: Judged, *, cap: int, prune: float) -> tuple[Point, ...]:
    """Move the threshold.

    Args:
        judged: Pairs with a bundle's logits.
        cap: Pruned pairs of one cluster that count.
        prune: The bundle's threshold, which is one of the points where it prunes any of the pairs.

    Returns:
        About `N_POINTS`, from strict to loose, closer to each other where little is pruned; the last prunes all.
    """
    descending = np.sort(judged.logit)[::-1]
    ranks = np.ceil(np.linspace(0, 1, N_POINTS + 1)[1:] ** 2 * len(descending)).astype(np.int64)
    chosen = {*descending[ranks - 1].tolist(), *([prune] if prune <= descending[0] else [])}
    thresholds = sorted(chosen, reverse=True)
    pruned = [judged.logit >= threshold for threshold in thresholds]
    statistics = [precision_capped(rows, judged.severe, judged.cluster, cap) for rows in pruned]
    found = intervals(lambda weight: [one(weight) for one in statistics], judged.cluster)
    return tuple(
        Point(threshold, float(rows.mean()), one)
        for threshold, rows, one in zip(thresholds, pruned, found, strict=True)
    )
