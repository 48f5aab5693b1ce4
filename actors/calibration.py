"""The map from a logit to the probability that a candidate is a severe violation.

A Platt map, two numbers, or an isotonic one, a bent line: both strictly increasing, so that they never change the
order of candidates, and thresholds on the logit and on the probability say the same thing. They are fitted on
pairs that the encoder was not trained on. Knows neither the encoder nor the policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.errors import CalibrationFailed

# A separable sample lets the slope grow without bound; with Platt's targets it settles well before this.
_MAX_STEPS = 100
_GRADIENT_TOLERANCE = 1e-9
_RIDGE = 1e-12


class _RisingLine:
    """A probability whose log-odds are a strictly rising line of the logit."""

    __slots__ = ()

    def _line(self, logits: ArrayLike) -> NDArray[np.float64]:
        raise NotImplementedError

    def p_severe(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Probability of a severe violation, of the same shape as the logits."""
        return sigmoid(self._line(logits))

    def relevance(self, logits: ArrayLike) -> NDArray[np.float64]:
        """One minus `p_severe`, without the cancellation near 1; not a number where the logit is not."""
        return sigmoid(-self._line(logits))


@dataclass(frozen=True, slots=True)
class PlattMap(_RisingLine):
    """`p_severe = 1 / (1 + exp(-(slope * logit + intercept)))`."""

    slope: float = 1.0
    """Greater than zero."""
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.slope < math.inf and math.isfinite(self.intercept)):
            raise ValueError(f"a Platt map needs a finite slope above zero, not {self.slope}")

    def _line(self, logits: ArrayLike) -> NDArray[np.float64]:
        return self.slope * np.asarray(logits, dtype=np.float64) + self.intercept

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal map."""
        return {"kind": "platt", "slope": float(self.slope), "intercept": float(self.intercept)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlattMap:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        if data["kind"] != "platt":
            raise ValueError(f"unknown calibration map {data['kind']!r}")
        return cls(slope=float(data["slope"]), intercept=float(data["intercept"]))


@dataclass(frozen=True, slots=True)
class IsotonicMap(_RisingLine):
    """A line bent at knots, in the log-odds: `p_severe = 1 / (1 + exp(-line(logit)))`.

    Before the first knot and after the last the line goes on with a slope of its own, so that no two logits tie.
    """

    logits: tuple[float, ...]
    """Where it bends, strictly ascending, at least two."""
    log_odds: tuple[float, ...]
    """Its values there, strictly ascending."""
    tail_slope: float = 1.0
    """Of the line beyond its knots, above zero."""

    def __post_init__(self) -> None:
        knots = np.array([self.logits, self.log_odds], np.float64)
        if knots.shape[1] < 2 or not np.isfinite(knots).all() or not (np.diff(knots) > 0).all():
            raise ValueError("an isotonic map needs at least two finite knots that rise strictly")
        if not 0 < self.tail_slope < math.inf:
            raise ValueError(f"an isotonic map needs a finite tail slope above zero, not {self.tail_slope}")

    def _line(self, logits: ArrayLike) -> NDArray[np.float64]:
        x = np.asarray(logits, dtype=np.float64)
        beyond = np.minimum(x - self.logits[0], 0) + np.maximum(x - self.logits[-1], 0)
        return np.asarray(np.interp(x, self.logits, self.log_odds) + self.tail_slope * beyond)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal map."""
        return {
            "kind": "isotonic",
            "logits": [float(x) for x in self.logits],
            "log_odds": [float(x) for x in self.log_odds],
            "tail_slope": float(self.tail_slope),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IsotonicMap:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        if data["kind"] != "isotonic":
            raise ValueError(f"unknown calibration map {data['kind']!r}")
        logits, log_odds = (tuple(map(float, data[name])) for name in ("logits", "log_odds"))
        return cls(logits, log_odds, float(data["tail_slope"]))


CalibrationMap = PlattMap | IsotonicMap


def calibration_from_json(data: Mapping[str, Any]) -> CalibrationMap:
    """Read what either map's `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    return IsotonicMap.from_json(data) if data["kind"] == "isotonic" else PlattMap.from_json(data)


def fit_platt(logits: ArrayLike, severe: ArrayLike) -> PlattMap:
    """Fit the map by maximum likelihood, with Platt's smoothed targets, by damped Newton steps.

    The algorithm is Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector
    machines", Machine Learning 68 (2007), with the sign of the slope turned round.

    Args:
        logits: Finite logits, float `[n]`.
        severe: True where the pair is a severe violation, bool `[n]`.

    Returns:
        The map.

    Raises:
        ValueError: The logits are not finite, or the lengths differ.
        CalibrationFailed: One of the classes is empty, or the logits do not rise with severity.
    """
    x = np.asarray(logits, dtype=np.float64)
    y = np.asarray(severe, dtype=bool)
    if x.shape != y.shape or x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError(f"needs finite logits and labels of one length, not {x.shape} and {y.shape}")
    n_severe, n_other = int(y.sum()), int((~y).sum())
    if not (n_severe and n_other):
        raise CalibrationFailed("both kinds are needed", n_severe, n_other)
    # Smoothed targets: a small or separable sample must not yield probabilities of 0 and 1.
    target = np.where(y, (n_severe + 1) / (n_severe + 2), 1 / (n_other + 2))
    slope, intercept = _newton(x, target, start=math.log((n_severe + 1) / (n_other + 1)))
    if slope <= 0:
        raise CalibrationFailed("the logits do not rise with severity", n_severe, n_other)
    return PlattMap(slope=slope, intercept=intercept)


def _newton(x: NDArray[np.float64], target: NDArray[np.float64], *, start: float) -> tuple[float, float]:
    """Minimise the cross-entropy of `sigmoid(w0 * x + w1)` against `target`, from `(0, start)`."""
    features = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.array([0.0, start])
    loss = _cross_entropy(features @ weights, target)
    for _ in range(_MAX_STEPS):
        p = sigmoid(features @ weights)
        gradient = features.T @ (p - target)
        if np.abs(gradient).max() < _GRADIENT_TOLERANCE * len(x):
            break
        hessian = (features * (p * (1 - p))[:, None]).T @ features + _RIDGE * np.eye(2)
        step: NDArray[np.float64] = np.linalg.solve(hessian, gradient).astype(np.float64)
        weights, new_loss = _line_search(features, target, weights=weights, step=step, loss=loss)
        if new_loss >= loss:  # no step improves: as close as floats allow
            break
        loss = new_loss
    return float(weights[0]), float(weights[1])


def _line_search(
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    weights: NDArray[np.float64],
    step: NDArray[np.float64],
    loss: float,
) -> tuple[NDArray[np.float64], float]:
    """Halve the step until the loss falls; the old weights and loss where it never does."""
    for halvings in range(30):
        tried = weights - step / 2**halvings
        tried_loss = _cross_entropy(features @ tried, target)
        if tried_loss < loss:
            return tried, tried_loss
    return weights, loss


def _cross_entropy(line: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, line) - target * line).sum())


def sigmoid(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """`1 / (1 + exp(-line))`, of the same shape."""
    # Exact at both ends, where 1 / (1 + exp(-x)) overflows. Not a number in, not a number out, silently.
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(-np.logaddexp(0, -line)))
