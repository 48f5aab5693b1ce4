"""Intervals that know that pairs of one cluster are not independent: whole clusters are drawn again.

Promises equal intervals for equal arguments. A draw is a weight per row (how often its cluster was drawn), so that
nothing is copied and every statistic is one that takes weights. Two statistics, or one of two models, are compared
on the same draws. Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), sections 3.8 and
5.3 (percentile intervals). Below 50 clusters such intervals are too narrow, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENOUGH_CLUSTERS = 50
"""With fewer an interval is called approximate."""
N_DRAWS = 1000
LEVEL = 0.95

Statistic = Callable[[NDArray[np.float64]], float]
"""From a weight per row, float64 `[n]`, to a number; NaN where it is undefined."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number from a sample of clusters, and how far it can be trusted."""

    value: float | None
    """On the sample itself; None where it is undefined."""
    low: float | None
    """Lower end; None where too many draws leave the statistic undefined."""
    high: float | None
    n_clusters: int
    level: float = LEVEL

    @property
    def approximate(self) -> bool:
        """Whether there are too few clusters for the interval to hold what it says."""
        return self.n_clusters < ENOUGH_CLUSTERS

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "n_clusters": self.n_clusters,
            "approximate": self.approximate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """Read what `to_json` wrote. Raises KeyError for anything else."""
        names = ("value", "low", "high", "n_clusters", "level")
        return Estimate(*(data[name] for name in names))

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None or self.low == self.high:  # all draws alike tell of no doubt
            return f"{self.value:.3f}"
        mark = "~" if self.approximate else ""
        return f"{self.value:.3f} [{mark}{self.low:.3f}, {mark}{self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """How much more one statistic is than another on the same draws."""

    p: float | None = None
    """Chance of a difference as far from 0, to either side, if there were none; None where the interval is."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {**Estimate.to_json(self), "p": self.p}


def interval(
    statistic: Statistic, cluster: ArrayLike, *, n_draws: int = N_DRAWS, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """`intervals` of one statistic."""
    return intervals(lambda weight: (statistic(weight),), cluster, n_draws=n_draws, level=level, seed=seed)[0]


def interval_each(statistics: Mapping[str, Statistic], cluster: ArrayLike) -> dict[str, Estimate]:
    """`intervals` of statistics by name."""
    found = intervals(lambda weight: [one(weight) for one in statistics.values()], cluster)
    return dict(zip(statistics, found, strict=True))


def intervals(
    statistic: Callable[[NDArray[np.float64]], Sequence[float]],
    cluster: ArrayLike,
    *,
    n_draws: int = N_DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Estimate]:
    """Estimate statistics with percentile intervals over drawn clusters, all on the same draws.

    Args:
        statistic: Weighted, one number or several; it is called with ones, and then once for each draw.
        cluster: Anything that tells clusters apart, `[n]`, at least one row.
        n_draws: How many times the clusters are drawn.
        level: Share of the draws that the interval holds, between 0 and 1.
        seed: Names the draws: equal seeds and clusters compare statistics on equal draws.

    Returns:
        An estimate for each number. Its interval is None where it is undefined in more than one draw of twenty:
        what is left would be about other samples than these; and where there is one cluster only, as all draws
        are then alike.

    Raises:
        ValueError: There is no row.
    """
    on_sample, drawn, n_clusters = _draw(statistic, cluster, n_draws=n_draws, seed=seed)
    return [_estimate(value, drawn[:, i], n_clusters, level=level) for i, value in enumerate(on_sample)]


def difference(one: Statistic, other: Statistic) -> Statistic:
    """The paired difference of two statistics: `one - other`, on the same draw."""
    return lambda weight: one(weight) - other(weight)


def differences(
    one: Mapping[str, Statistic], other: Mapping[str, Statistic], cluster: ArrayLike
) -> dict[str, Difference]:
    """Estimate how statistics of one model differ from those of another, all on the same draws.

    Args:
        one: Statistics by name.
        other: The same names.
        cluster: Anything that tells clusters apart, `[n]`, at least one row.

    Returns:
        For each name the first less the second, with a two-sided p-value: twice the share of draws on the far side
        of 0, one draw added on either side, as no sample shows that there is none.

    Raises:
        ValueError: There is no row.
    """
    paired = [difference(one[name], other[name]) for name in one]
    on_sample, drawn, n_clusters = _draw(
        lambda weight: [of(weight) for of in paired], cluster, n_draws=N_DRAWS, seed=0
    )
    return {
        name: _difference(_estimate(value, drawn[:, i], n_clusters, level=LEVEL), drawn[:, i])
        for i, (name, value) in enumerate(zip(one, on_sample, strict=True))
    }


def _draw(
    statistic: Callable[[NDArray[np.float64]], Sequence[float]],
    cluster: ArrayLike,
    *,
    n_draws: int,
    seed: int,
) -> tuple[Sequence[float], NDArray[np.float64], int]:
    """The statistics on the sample, on each draw `[n_draws, n statistics]`, and how many clusters there are."""
    names, number = np.unique(np.asarray(cluster), return_inverse=True)
    if not len(names):
        raise ValueError("an interval needs at least one row")
    on_sample = statistic(np.ones(len(number)))
    random = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    drawn = np.array(
        [statistic(random.multinomial(len(names), even)[number].astype(np.float64)) for _ in range(n_draws)]
    )
    return on_sample, drawn, len(names)


def _difference(estimate: Estimate, drawn: NDArray[np.float64]) -> Difference:
    defined = drawn[np.isfinite(drawn)]
    far = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    p = None if estimate.low is None else min(1.0, 2 * (1 + far) / (1 + len(defined)))
    return Difference(estimate.value, estimate.low, estimate.high, estimate.n_clusters, estimate.level, p)


def _estimate(value: float, drawn: NDArray[np.float64], n_clusters: int, *, level: float) -> Estimate:
    on_sample = float(value) if np.isfinite(value) else None
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < 0.95 * len(drawn) or n_clusters < 2:
        return Estimate(on_sample, None, None, n_clusters, level)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Estimate(on_sample, low, high, n_clusters, level)
