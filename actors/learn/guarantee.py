"""The loosest threshold at which a promise about the prune can be proven from labelled clusters.

Promises: over repeated draws of the labelled clusters, the chance that the accepted threshold breaks its
promise is at most `1 - confidence`, for any distribution of scores, labels and cluster sizes. It rests on two
things that the caller owes: the clusters are a probability sample, and nothing that is fixed beforehand
(thresholds, cap, bets) was chosen by looking at their labels. Pure; knows no model and no bundle.

**What is promised** is capped precision. Of a cluster with k pruned pairs, z of them severe, min(k, cap) count,
so that the precision over clusters is P(t) = E[w z] / E[w k] with w = min(k, cap) / k. Without a cap one large
cluster could carry all the errors, and no finite sample would show it.

**How** it is proven: for a bet b in (0, 1) and the target tau, each cluster multiplies a stake by
1 + b w (z - tau k) / (tau cap), which is above 0 and, where P(t) <= tau, at most 1 on average. The mean of the
stakes over a grid of bets is an e-value: it exceeds 1 / delta with probability at most delta (Ville's inequality),
however often one looks while labels come in. Thresholds are tried from strict to loose, and the first that fails
ends the trial, which needs no correction for many thresholds.

Sources: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (arXiv 2010.09686);
Angelopoulos, Bates, Candès, Jordan and Lei, Learn then test (arXiv 2110.01052), fixed sequence testing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CAP = 5
"""Pruned pairs of one cluster that count; 1 is the average over clusters."""
BETS = tuple((np.arange(20) + 0.5) / 20)
"""Evenly over (0, 1): which bet is best depends on the true precision, and the mean loses little to the best."""
N_THRESHOLDS = 100


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pairs with a score and a label, in clusters: columns of equal length."""

    logit: NDArray[np.float64]
    """Severity, float64 `[n]`, finite."""
    severe: NDArray[np.bool_]
    """Whether people say so, bool `[n]`."""
    cluster: NDArray[np.int64]
    """Which cluster a pair is of, int64 `[n]`, from 0."""
    n_clusters: int
    """Clusters in the sample, those without a pair that would be pruned included."""

    @classmethod
    def of(cls, logit: ArrayLike, severe: ArrayLike, cluster: ArrayLike) -> Labelled:
        """Check and convert.

        Args:
            logit: Severity, float `[n]`.
            severe: Bool `[n]`, or numbers that are 0 or 1.
            cluster: Anything that tells clusters apart, `[n]`.

        Returns:
            The columns, clusters numbered in sorted order.

        Raises:
            ValueError: The lengths differ, a logit is not finite, or a label is neither true nor false.
        """
        values, labels = np.asarray(logit, np.float64), np.asarray(severe)
        names, numbers = np.unique(np.asarray(cluster), return_inverse=True)
        if not values.shape == labels.shape == numbers.shape or values.ndim != 1:
            raise ValueError("logits, labels and clusters must be columns of equal length")
        if not np.isfinite(values).all():
            raise ValueError("a logit is not finite")
        # Whatever else stands for "unknown" would become severe, and the promise a lie.
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("a label is neither true nor false")
        return cls(values, labels.astype(np.bool_), numbers.astype(np.int64), len(names))


@dataclass(frozen=True, slots=True)
class Promise:
    """What is to be proven."""

    target: float
    """Capped precision of the prune, above 0 and below 1."""
    confidence: float
    """Between 0 and 1."""
    cap: int = CAP
    """See the module."""

    def __post_init__(self) -> None:
        if not (0 < self.target < 1 and 0 < self.confidence < 1 and self.cap >= 1):
            raise ValueError(
                f"target {self.target} and confidence {self.confidence} must be above 0 and below 1, "
                f"and cap {self.cap} at least 1"
            )

    @property
    def clusters_to_start(self) -> int:
        """Clusters, each full of prunes, from which on a threshold is worth a try.

        Without a single error, and with the best bet, it takes ln(1/delta) / ln(1/target) of them. Twice as
        many leave room for the other bets, for an error, and for a sample that holds fewer than expected: a
        trial that fails ends the sequence, so one that comes too early costs everything.
        """
        return math.ceil(2 * math.log(1 / (1 - self.confidence)) / math.log(1 / self.target))


@dataclass(frozen=True, slots=True)
class Trial:
    """One threshold, tried."""

    threshold: float
    n_clusters: int
    """Clusters with a prune."""
    e_value: float
    """Evidence against the promise being broken; infinity where it is beyond floats."""
    accepted: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a promise."""

    promise: Promise
    trials: tuple[Trial, ...]
    """In the order tried, strict to loose; only the last may have failed."""

    @property
    def threshold(self) -> float:
        """The loosest logit that was accepted; infinity, which prunes nothing, where none was."""
        return self.loosest.threshold if self.loosest else math.inf

    @property
    def loosest(self) -> Trial | None:
        """The last trial that was accepted; None where none was."""
        accepted = [trial for trial in self.trials if trial.accepted]
        return accepted[-1] if accepted else None


def grid(
    logit: ArrayLike,
    cluster: ArrayLike,
    promise: Promise,
    n_clusters: int,
    *,
    pairs_per_cluster: float | None = None,
) -> NDArray[np.float64]:
    """Thresholds to try, from traffic without labels or from the role that the map was fitted on.

    The strictest is where the labelled clusters can be expected to hold enough prunes for a proof without an
    error; before it every trial would fail, and end the sequence. From there on they are evenly spaced in the
    logarithm of the share that they prune.

    Args:
        logit: Severity of pairs whose labels are not those of the proof, float `[m]`, at least one.
        cluster: Anything that tells their clusters apart, `[m]`.
        promise: What is to be proven.
        n_clusters: Labelled clusters that it will be proven with.
        pairs_per_cluster: How many pairs a labelled cluster holds on average, by labels other than those of the
            proof; None: as many as one holds here. A window of traffic may hold a tenth or ten times as many, and
            a start that does not heed it comes too late or too early.

    Returns:
        Float64 `[at most N_THRESHOLDS]`, descending; empty where so few clusters can prove nothing.
    """
    traffic = Labelled.of(logit, np.zeros(np.shape(logit), np.bool_), cluster)
    ordered = np.sort(traffic.logit)[::-1]
    size = len(traffic.logit) / traffic.n_clusters
    scale = 1.0 if pairs_per_cluster is None else pairs_per_cluster / size
    start = next(
        (
            threshold
            for threshold, pruned, _ in counts(traffic, _spaced(ordered, 1, 4 * N_THRESHOLDS))
            if np.minimum(scale * pruned, promise.cap).mean() / promise.cap * n_clusters
            >= promise.clusters_to_start
        ),
        None,
    )
    if start is None:
        return np.zeros(0)
    return _spaced(ordered, int(np.count_nonzero(ordered >= start)), N_THRESHOLDS)


def prove(labelled: Labelled, promise: Promise, thresholds: ArrayLike) -> Proof:
    """Find the loosest threshold at which the promise holds.

    Args:
        labelled: A probability sample of clusters, adjudicated by people.
        promise: What is to be proven; a further promise, or model, that is tried on the same labels divides
            `1 - confidence` by how many are tried.
        thresholds: Candidates, float `[m]`, chosen without these labels.

    Returns:
        The proof; its threshold is infinite where nothing can be promised.

    Raises:
        ValueError: A threshold is not finite.
    """
    descending = np.sort(np.asarray(thresholds, np.float64))[::-1]
    if not np.isfinite(descending).all():
        raise ValueError("a threshold is not finite")
    trials: list[Trial] = []
    needed = math.log(1 / (1 - promise.confidence))
    for threshold, pruned, severe in counts(labelled, descending):
        evidence = log_e_value(pruned, severe, promise)
        with np.errstate(over="ignore"):
            e_value = float(np.exp(evidence))
        trials.append(Trial(threshold, int(np.count_nonzero(pruned)), e_value, evidence >= needed))
        if evidence < needed:
            break
    return Proof(promise, tuple(trials))


def log_e_value(pruned: NDArray[np.int64], severe: NDArray[np.int64], promise: Promise) -> float:
    """The logarithm of the e-value at one threshold, see the module.

    Args:
        pruned: Pruned pairs of each cluster, int `[n]`.
        severe: Severe ones among them, int `[n]`.
        promise: Its target and cap.

    Returns:
        From ln(1 / (1 - confidence)) on the threshold is accepted.
    """
    some = pruned > 0  # a cluster without a prune multiplies by 1
    k, z = pruned[some].astype(np.float64), severe[some]
    gain = np.minimum(k, promise.cap) / k * (z - promise.target * k) / (promise.target * promise.cap)
    # Many clusters look alike: each kind of gain is looked at once.
    gains, times = np.unique(gain, return_counts=True)
    stakes = np.log1p(np.outer(BETS, gains)) @ times
    highest = float(stakes.max()) if len(stakes) else 0.0
    return highest + math.log(float(np.exp(stakes - highest).mean()))


def capped_precision(pruned: NDArray[np.int64], severe: NDArray[np.int64], cap: int) -> float:
    """P(t) of a sample, see the module: an estimate; nothing is promised by it.

    Args:
        pruned: Pruned pairs of each cluster, int `[n]`.
        severe: Severe ones among them, int `[n]`.
        cap: Pruned pairs of one cluster that count.

    Returns:
        Between 0 and 1; NaN where nothing is pruned.
    """
    some = pruned > 0
    k, z = pruned[some], severe[some]
    counting = np.minimum(k, cap)
    total = counting.sum()
    return float((counting / k * z).sum() / total) if total else math.nan


def counts(
    labelled: Labelled, thresholds: NDArray[np.float64]
) -> Iterator[tuple[float, NDArray[np.int64], NDArray[np.int64]]]:
    """Count what each threshold prunes, cluster by cluster.

    Args:
        labelled: The pairs.
        thresholds: Descending, float64 `[m]`.

    Yields:
        The threshold; pruned pairs of each cluster, int64 `[n_clusters]`; severe ones among them, likewise.
    """
    order = np.argsort(-labelled.logit, kind="stable")
    logit, cluster, severe = labelled.logit[order], labelled.cluster[order], labelled.severe[order]
    pruned_so_far = np.zeros(labelled.n_clusters, np.int64)
    severe_so_far = np.zeros(labelled.n_clusters, np.int64)
    start = 0
    for threshold in thresholds:
        stop = int(np.searchsorted(-logit, -threshold, side="right"))
        new = cluster[start:stop]
        pruned_so_far += np.bincount(new, minlength=labelled.n_clusters)
        severe_so_far += np.bincount(new[severe[start:stop]], minlength=labelled.n_clusters)
        start = stop
        yield float(threshold), pruned_so_far.copy(), severe_so_far.copy()


def _spaced(descending: NDArray[np.float64], first: int, n: int) -> NDArray[np.float64]:
    """At most n of the logits, descending, from the rank `first` on evenly in the logarithm of the rank."""
    ranks = np.unique(np.geomspace(first, len(descending), n).round().astype(np.int64))
    return np.unique(descending[ranks - 1])[::-1]
