"""Whether stated probabilities come true: what people see of a map, and what is stored with it.

Each figure is a weighted statistic for `bootstrap.interval`, or a point. The expected calibration error is a point
only: it is biased upwards in small samples, so an interval around it would hold the wrong thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.calibration import sigmoid
from actors.learn.bootstrap import Estimate, intervals
from actors.learn.metrics import dot, ratio

N_BINS = 10
_LEAST = 1e-6
_NEWTON_STEPS = 25
_CONVERGED = 1e-9
_LARGEST_STEP = 4.0


@dataclass(frozen=True, slots=True)
class Bin:
    """A tenth of the pairs, by stated probability."""

    stated: float
    """Mean probability of a severe violation."""
    found: Estimate
    """Share of severe pairs."""
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        found = self.found
        return {
            "stated": self.stated,
            "found": found.value,
            "low": found.low,
            "high": found.high,
            "n": self.n,
        }


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far stated probabilities can be believed."""

    brier: Estimate
    """Mean squared error of the probability; the lower, the better."""
    slope: Estimate
    """1 is right; below it probabilities are too extreme, above it too timid."""
    intercept: Estimate
    """0 is right; above it severe pairs are more frequent than stated, at the slope found."""
    ece: float
    """Expected calibration error: mean gap between stated and found over the bins."""
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {
            "brier": self.brier.to_json(),
            "calibration_slope": self.slope.to_json(),
            "calibration_intercept": self.intercept.to_json(),
            "expected_calibration_error": self.ece,
            "bins": [one.to_json() for one in self.bins],
        }


def judge(p_severe: ArrayLike, severe: ArrayLike, cluster: ArrayLike, *, seed: int = 0) -> Reliability:
    """Compare stated probabilities with labels.

    Slope and intercept are those of a logistic regression of the label on the stated log-odds (Cox, "Two further
    applications of a model for binary regression", Biometrika 45, 1958).

    Args:
        p_severe: Stated probability of a severe violation, float `[n]`, from 0 to 1, at least one.
        severe: Bool `[n]`.
        cluster: Anything that tells clusters apart, `[n]`.
        seed: Names the bootstrap's draws.

    Returns:
        All figures.

    Raises:
        ValueError: The lengths differ, there is no pair, or a probability is none.
    """
    p, y = np.asarray(p_severe, np.float64), np.asarray(severe, np.bool_)
    if p.shape != y.shape or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("needs probabilities and labels of one length, at least one")
    found = bins(p, y, cluster)
    brier, line = ratio((p - y) ** 2, np.ones_like(p)), _recalibration(p, y)
    of_brier, of_slope, of_intercept = intervals(
        lambda weight: (brier(weight), *line(weight)), cluster, seed=seed
    )
    return Reliability(
        brier=of_brier,
        slope=of_slope,
        intercept=of_intercept,
        ece=sum(one.n * abs(one.stated - (one.found.value or 0.0)) for one in found) / len(p),
        bins=found,
    )


def bins(
    p_severe: NDArray[np.float64], severe: NDArray[np.bool_], cluster: ArrayLike, n_bins: int = N_BINS
) -> tuple[Bin, ...]:
    """Pairs in bins of equal size, ascending; fewer where there are fewer pairs.

    Args:
        p_severe: Float64 `[n]`, at least one.
        severe: Bool `[n]`.
        cluster: Anything that tells clusters apart, `[n]`.
        n_bins: How many.

    Returns:
        The bins, none empty.
    """
    order = np.argsort(p_severe, kind="stable")
    parts = np.array_split(order, min(n_bins, len(order)))
    number = np.empty(len(order), np.int64)
    for place, rows in enumerate(parts):
        number[rows] = place

    def shares(weight: NDArray[np.float64]) -> list[float]:
        whole = np.bincount(number, weight, len(parts))
        part = np.bincount(number, weight * severe, len(parts))
        found = np.divide(part, whole, out=np.full(len(parts), math.nan), where=whole > 0)
        return list(found.tolist())

    found = intervals(shares, cluster)
    return tuple(
        Bin(float(p_severe[rows].mean()), one, len(rows)) for rows, one in zip(parts, found, strict=True)
    )


def _recalibration(
    p: NDArray[np.float64], y: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], tuple[float, float]]:
    """Slope and intercept of the label on the stated log-odds, weighted, by Newton's steps; NaN if undefined."""
    undefined = math.nan, math.nan
    clipped = np.clip(p, _LEAST, 1 - _LEAST)
    stated, severe = np.log(clipped / (1 - clipped)), y.astype(np.float64)

    def weighted(weight: NDArray[np.float64]) -> tuple[float, float]:
        if not 0 < dot(weight, severe) < weight.sum():
            return undefined
        line = np.array([1.0, 0.0])
        for _ in range(_NEWTON_STEPS):
            q = sigmoid(line[0] * stated + line[1])
            error, bend = weight * (q - severe), weight * q * (1 - q)
            across = dot(bend, stated)
            hessian = np.array([[dot(bend * stated, stated), across], [across, bend.sum()]])
            try:
                step = np.linalg.solve(hessian, np.array([dot(error, stated), error.sum()]))
            except np.linalg.LinAlgError:  # one stated probability for all, or labels that it separates
                return undefined
            line = line - step * min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step).max() < _CONVERGED:
                return float(line[0]), float(line[1])
        return undefined

    return weighted
