"""Fits the map that follows the data instead of a curve: for many labels, where a Platt map is seen to be bent.

Promises a strictly increasing map: pooled stretches become knots, joined by straight lines in the log-odds, so
that pairs of one stretch keep their order. Source: Zadrozny and Elkan, "Transforming classifier scores into
accurate multiclass probability estimates", KDD 2002, with the steps of their map bent into a line. Needs the
`train` extra.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from actors.calibration import IsotonicMap, fit_platt
from actors.errors import CalibrationFailed

_LEAST_RISE = 1e-3
"""Log-odds between neighbouring knots, at least: far below what any sample can tell."""


def fit_isotonic(logits: ArrayLike, severe: ArrayLike) -> IsotonicMap:
    """Pool neighbours until the share of severe pairs rises with the logit, and join the pools.

    A pool's share is pulled towards the overall share by one pair, so that a pure one does not claim certainty.
    Beyond the pools the line goes on as the Platt map of the same pairs does.

    Args:
        logits: Finite logits, float `[n]`.
        severe: True where the pair is a severe violation, bool `[n]`.

    Returns:
        The map.

    Raises:
        ValueError: The logits are not finite, or the lengths differ.
        CalibrationFailed: One of the classes is empty, or the logits do not rise with severity.
    """
    tail = fit_platt(logits, severe).slope
    x, y = np.asarray(logits, np.float64), np.asarray(severe, np.bool_)
    # One point per distinct logit, or equal logits could fall into different pools.
    at, number = np.unique(x, return_inverse=True)
    n = np.bincount(number).astype(np.float64)
    hits = np.bincount(number, y)
    starts = isotonic_regression(hits / n, weights=n).blocks[:-1]
    pooled_n, pooled_hits = np.add.reduceat(n, starts), np.add.reduceat(hits, starts)
    centre = np.add.reduceat(at * n, starts) / pooled_n
    share = (pooled_hits + y.mean()) / (pooled_n + 1)
    log_odds = np.log(share / (1 - share))
    # Small pools are pulled further than large ones and may overtake a neighbour: the line still has to rise.
    rise = _LEAST_RISE * np.arange(len(log_odds))
    log_odds = np.maximum.accumulate(log_odds - rise) + rise
    if len(centre) < 2:
        raise CalibrationFailed(
            "the share of severe pairs does not rise with the logit", int(y.sum()), int((~y).sum())
        )
    return IsotonicMap(tuple(centre.tolist()), tuple(log_odds.tolist()), tail)
