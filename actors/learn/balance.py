"""How many labels there are of what, and how severe pairs are spread over roles and segments.

Promises shares with intervals over clusters. Needs nothing beside numpy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.learn.bootstrap import Estimate, interval
from actors.learn.labels import Labels, Source
from actors.learn.listing import one_line
from actors.learn.metrics import ratio
from actors.learn.roles import Role
from actors.learn.sample import Sample

MOST_SEGMENTS = 50
"""Segments that are looked at one by one: the largest."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Of a role or a segment: how much there is of it, and how much of that is severe."""

    n_pairs: int
    """That people have settled."""
    n_clusters: int
    severe: Estimate
    """Share of them that is severe."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"pairs": self.n_pairs, "clusters": self.n_clusters, "severe": self.severe.to_json()}


def count_levels(labels: Labels) -> dict[str, dict[str, int]]:
    """How many labels there are of each level, by source; a level that nobody used is there too."""
    counts = Counter((row.level, row.source) for row in labels.rows)
    found = {level: {one.value: counts[level, one] for one in Source} for level in labels.rubric.levels}
    without = {one.value: counts[None, one] for one in Source}
    return found | ({"(probability only)": without} if any(without.values()) else {})


def balance_of_roles(sample: Sample) -> dict[str, Balance]:
    """The roles on whose pairs people have spoken."""
    found = {role.value: sample.people(role) for role in Role}
    return {name: _balance(one.severe, one.cluster) for name, one in found.items() if len(one)}


def balance_of_segments(sample: Sample) -> tuple[dict[str, Balance], int]:
    """The segments with most settled pairs, and how many there are besides."""
    settled = sample.settled
    names = [sample.labels.pairs[place].segment for place in settled.pair.tolist()]
    counts = Counter(name for name in names if name is not None)
    column, cluster = np.array(names, dtype=object), sample.cluster[settled.pair]
    found = {}
    for name, _ in counts.most_common(MOST_SEGMENTS):
        rows = column == name
        found[one_line(name)] = _balance(settled.severe[rows], cluster[rows])
    return found, max(0, len(counts) - MOST_SEGMENTS)


def _balance(severe: NDArray[np.bool_], cluster: NDArray[np.int64]) -> Balance:
    # By cluster first: the draws are of clusters, and equal for equal clusters.
    _, number = np.unique(cluster, return_inverse=True)
    n_severe, n = np.bincount(number, severe), np.bincount(number)
    return Balance(len(severe), len(n), interval(ratio(n_severe, n), np.arange(len(n))))
