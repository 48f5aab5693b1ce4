"""How well logits tell severe pairs from others, and what a policy makes of them.

Each metric is a weighted statistic, so that `bootstrap.interval` can put an interval around it; NaN says that it
is undefined on this sample (a single kind of pair, nothing pruned), never zero or one. Pure numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.learn.bootstrap import Statistic
from actors.policy import ActionCode

Floats = NDArray[np.float64]


def auc(logit: ArrayLike, severe: ArrayLike) -> Statistic:
    """Chance that a severe pair has the higher logit than another one; ties count half.

    Args:
        logit: Finite, float `[n]`.
        severe: Bool `[n]`.

    Returns:
        The weighted statistic (the Mann-Whitney U over the number of couples).
    """
    order, severe_first, tie = _ranked(logit, severe)

    def weighted(weight: Floats) -> float:
        return _auc(weight[order], severe_first, tie)

    return weighted


def auc_within(logit: ArrayLike, severe: ArrayLike, query: ArrayLike) -> Statistic:
    """Mean of the AUC within each query that has both kinds of pairs, a query weighted by its first row.

    Args:
        logit: Finite, float `[n]`.
        severe: Bool `[n]`.
        query: Anything that tells queries apart, `[n]`; a query lies within one cluster.

    Returns:
        The weighted statistic.
    """
    x, y = np.asarray(logit, np.float64), np.asarray(severe, np.bool_)
    _, number = np.unique(np.asarray(query), return_inverse=True)
    area, counts = np.zeros(len(x)), np.zeros(len(x))
    for rows in _rows_of(number):
        if 0 < y[rows].sum() < len(rows):
            area[rows[0]] = auc(x[rows], y[rows])(np.ones(len(rows)))
            counts[rows[0]] = 1
    return ratio(area, counts)


def average_precision(logit: ArrayLike, severe: ArrayLike) -> Statistic:
    """Area under the precision-recall curve, as a sum over steps of recall; ties are one step.

    Args:
        logit: Finite, float `[n]`.
        severe: Bool `[n]`.

    Returns:
        The weighted statistic.
    """
    x, y = np.asarray(logit, np.float64), np.asarray(severe, np.bool_)
    order = np.argsort(-x, kind="stable")
    severe_sorted = y[order]
    last = np.append(np.flatnonzero(np.diff(x[order])), len(x) - 1)

    def weighted(weight: Floats) -> float:
        ordered = weight[order]
        hit, seen = np.cumsum(ordered * severe_sorted)[last], np.cumsum(ordered)[last]
        if not hit[-1]:
            return math.nan
        precision = np.divide(hit, seen, out=np.zeros_like(hit), where=seen > 0)
        return dot(np.diff(hit, prepend=0.0), precision) / float(hit[-1])

    return weighted


def precision(pruned: ArrayLike, severe: ArrayLike) -> Statistic:
    """Share of severe pairs among the pruned: an estimate over pairs, never promised.

    Args:
        pruned: Bool `[n]`.
        severe: Bool `[n]`.

    Returns:
        The weighted statistic.
    """
    return share(severe, pruned)


def precision_capped(pruned: ArrayLike, severe: ArrayLike, cluster: ArrayLike, cap: int) -> Statistic:
    """Precision over clusters, of each of which at most `cap` pruned pairs count: what `guarantee` promises.

    Args:
        pruned: Bool `[n]`.
        severe: Bool `[n]`.
        cluster: Anything that tells clusters apart, `[n]`.
        cap: Pruned pairs of one cluster that count.

    Returns:
        The weighted statistic; a row's weight is its cluster's.
    """
    taken, y = np.asarray(pruned, np.bool_), np.asarray(severe, np.bool_)
    _, number = np.unique(np.asarray(cluster), return_inverse=True)
    n_pruned = np.bincount(number, taken)
    counting = np.where(taken, np.minimum(n_pruned, cap)[number] / np.maximum(n_pruned, 1)[number], 0.0)
    return ratio(counting * y, counting)


def share(which: ArrayLike, among: ArrayLike | None = None) -> Statistic:
    """Share of rows, or of the rows of a kind.

    Args:
        which: Bool `[n]`.
        among: Bool `[n]`; None: all rows.

    Returns:
        The weighted statistic.
    """
    chosen = np.asarray(which, np.bool_)
    kind = np.ones_like(chosen) if among is None else np.asarray(among, np.bool_)
    return ratio(chosen & kind, kind)


def ratio(part: ArrayLike, whole: ArrayLike) -> Statistic:
    """A weighted sum over another; undefined where that is 0.

    Args:
        part: What each row adds above the line, float or bool `[n]`.
        whole: What it adds below, float or bool `[n]`.

    Returns:
        The weighted statistic.
    """
    above, below = np.asarray(part, np.float64), np.asarray(whole, np.float64)

    def weighted(weight: Floats) -> float:
        total = dot(weight, below)
        return dot(weight, above) / total if total else math.nan

    return weighted


def dot(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The inner product, on this thread: to wake BLAS's own takes a hundred times as long on 20,000 rows."""
    return float(np.einsum("i,i->", one, other))


@dataclass(frozen=True, slots=True)
class Acted:
    """What a policy does, metric by metric: `statistics` names them."""

    action: NDArray[np.int8]
    """`policy.ActionCode`, int8 `[n]`."""
    severe: NDArray[np.bool_]
    """Bool `[n]`."""
    cluster: NDArray[Any]
    """Anything that tells clusters apart, `[n]`."""
    cap: int
    """Pruned pairs of one cluster that count."""

    @property
    def statistics(self) -> dict[str, Statistic]:
        """Shares of all and of the severe (or a policy that prunes nothing would look perfect), and precision."""
        found: dict[str, Statistic] = {}
        for code in ActionCode:
            chosen = self.action == code
            name = code.name.lower()
            found[f"share_{name}"] = share(chosen)
            found[f"severe_{name}"] = share(chosen, self.severe)
        pruned = self.action == ActionCode.PRUNE
        found["precision_pairs"] = precision(pruned, self.severe)
        found["precision_capped"] = precision_capped(pruned, self.severe, self.cluster, self.cap)
        return found


def _ranked(
    logit: ArrayLike, severe: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Rows in ascending order of the logit, their kinds, and the number of the tie that each is in."""
    x, y = np.asarray(logit, np.float64), np.asarray(severe, np.bool_)
    if x.shape != y.shape or not np.isfinite(x).all():
        raise ValueError("needs finite logits and labels of one length")
    order = np.argsort(x, kind="stable")
    tie = np.cumsum(np.diff(x[order], prepend=x[order][:1]) > 0)
    return order, y[order], tie.astype(np.int64)


def _auc(weight: Floats, severe: NDArray[np.bool_], tie: NDArray[np.int64]) -> float:
    if not len(weight):
        return math.nan
    bad = np.bincount(tie, weight * severe)
    good = np.bincount(tie, weight * ~severe)
    couples = bad.sum() * good.sum()
    if not couples:
        return math.nan
    below = np.cumsum(good) - good
    return dot(bad, below + good / 2) / float(couples)


def _rows_of(number: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each number, in order."""
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
