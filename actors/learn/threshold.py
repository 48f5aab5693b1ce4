"""From labelled clusters and a window of traffic to a policy: what may be pruned, and what people look at.

Promises that a policy prunes nothing unless `guarantee` proved its threshold; that review never exceeds its budget
on the window of traffic that it was set on; and that what is only estimated is marked as an estimate. It rests on
two inputs that the caller owes: labels that people settled for a probability sample of clusters, all or a uniform
number of pairs in each, and traffic that was not chosen by score. Pure; knows no files and no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.learn.bootstrap import Estimate, interval_each
from actors.learn.guarantee import CAP, Labelled, Promise, Proof, grid, log_e_value, prove
from actors.learn.metrics import Acted
from actors.policy import ActionCode, Guarantee, Policy

ASSUMED_PRECISION = 0.99
"""A good model's, for the question how many clusters a promise would take."""
_MOST_CLUSTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks of a policy."""

    target: float = 0.95
    """Capped precision of the prune, above 0 and below 1."""
    confidence: float = 0.95
    """Over all tries on the same labels, between 0 and 1."""
    max_review_share: float = 0.05
    """Greatest share of traffic for people, from 0 to 1."""
    cap: int = CAP
    """Pruned pairs of one cluster that count."""
    n_tries: int = 1
    """Targets and bundles that will be tried on these labels, settled before the first: each gets an equal part
    of the chance to be wrong."""

    def __post_init__(self) -> None:
        if not (0 <= self.max_review_share <= 1 and self.n_tries >= 1):
            raise ValueError(f"not a wish: {self}")
        Promise(self.target, self.confidence, self.cap)

    @property
    def promise(self) -> Promise:
        """What one of the tries has to prove."""
        return Promise(self.target, 1 - (1 - self.confidence) / self.n_tries, self.cap)


@dataclass(frozen=True, slots=True)
class Needed:
    """Labelled clusters, each full of prunes, that a promise takes."""

    without_error: int
    """If every pruned pair is severe: nothing can be promised with fewer."""
    if_precise: int | None
    """If `ASSUMED_PRECISION` of them are, and errors come in whole clusters; None where that is no better than the
    target."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Thresholds, what is promised, and what is only expected."""

    wish: Wish
    proof: Proof
    review: float
    """Logit from which on people look; infinity where the budget is nothing."""
    n_clusters: int
    """Labelled clusters that it rests on."""
    needed: Needed
    traffic: Mapping[str, float]
    """Shares of the window of traffic: `prune`, `review`, `pass`."""
    expected: Mapping[str, Estimate]
    """On the labelled clusters, by `metrics.Acted`: estimates, not promises."""
    recorded: bool
    """Whether a record of all tries on these labels was kept; without one nobody knows of others."""

    @property
    def prune(self) -> float:
        """Logit from which on a pair is pruned; infinity prunes nothing."""
        return self.proof.threshold

    @property
    def n_with_prunes(self) -> int:
        """Labelled clusters with a pair that the prune threshold takes."""
        return self.proof.loosest.n_clusters if self.proof.loosest else 0

    @property
    def promised(self) -> bool:
        """Whether anything is."""
        return math.isfinite(self.prune)

    def to_policy(self) -> Policy:
        """The policy for a bundle; its guarantee is the target, never an estimate."""
        wish = self.wish
        return Policy(
            prune=self.prune,
            review=self.review,
            rests_on=self.rests_on,
            guarantee=Guarantee(wish.target, wish.confidence, wish.cap) if self.promised else None,
            evidence=self.to_json(),
        )

    @property
    def rests_on(self) -> str:
        """How the thresholds came about, for a person."""
        wish = self.wish
        tried = (
            f"precision {wish.target:g} at confidence {wish.confidence:g} over {wish.n_tries} planned "
            f"{'try' if wish.n_tries == 1 else 'tries'}, tested on {self.n_clusters} labelled clusters, at most "
            f"{wish.cap} prunes of each counting"
        )
        if self.promised:
            return f"{tried}; {self.n_with_prunes} of them hold prunes{self._unless_recorded}"
        return f"{tried}: nothing can be promised, so nothing is pruned"

    @property
    def said(self) -> str:
        """The outcome in a sentence or two, for the operator."""
        wish = self.wish
        wanted = f"a precision of {wish.target:g} with confidence {wish.confidence:g}"
        if self.promised:
            return (
                f"promised: {wanted}, on {self.n_with_prunes} labelled clusters with prunes of {self.n_clusters}; "
                f"expected: {self.traffic['prune']:.2%} pruned, {self.traffic['review']:.2%} for review"
                f"{self._unless_recorded}"
            )
        more = f"{self.needed.without_error} labelled clusters full of prunes without a single error"
        if self.needed.if_precise is not None:
            more += f", or {self.needed.if_precise} at a precision of {ASSUMED_PRECISION:g}"
        strictest = self.proof.trials[0] if self.proof.trials else None
        held = (
            "too few to try any threshold"
            if strictest is None
            else f"of which {strictest.n_clusters} hold prunes at the strictest threshold tried"
        )
        return (
            f"NOTHING IS PRUNED: {wanted} cannot be promised from {self.n_clusters} labelled clusters, {held}. "
            f"It takes {more}. Until then {self.traffic['review']:.2%} of traffic goes to review."
        )

    @property
    def _unless_recorded(self) -> str:
        if self.recorded:
            return ""
        n = self.wish.n_tries
        this = "the only try" if n == 1 else f"one of the {n} planned tries"
        return f"; no record of other tries was kept, so the promise holds only if this was {this} on these labels"

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a report and for the bundle."""
        return {
            "target": self.wish.target,
            "confidence": self.wish.confidence,
            "cap": self.wish.cap,
            "n_tries": self.wish.n_tries,
            "tries_recorded": self.recorded,
            "promised": self.promised,
            "prune": self.prune if self.promised else None,
            "review": self.review if math.isfinite(self.review) else None,
            "n_clusters": self.n_clusters,
            "n_clusters_with_prunes": self.n_with_prunes,
            "trials": [
                {
                    "threshold": trial.threshold,
                    "n_clusters": trial.n_clusters,
                    "e_value": trial.e_value if math.isfinite(trial.e_value) else None,
                    "accepted": trial.accepted,
                }
                for trial in self.proof.trials
            ],
            "clusters_needed": {
                "without_error": self.needed.without_error,
                f"at_precision_{ASSUMED_PRECISION:g}": self.needed.if_precise,
            },
            "traffic_shares": dict(self.traffic),
            "expected": {name: estimate.to_json() for name, estimate in self.expected.items()},
        }


def decide(
    labelled: Labelled,
    logit: ArrayLike,
    cluster: ArrayLike,
    wish: Wish,
    *,
    thresholds: ArrayLike | None = None,
    recorded: bool = False,
) -> Decision:
    """Set the thresholds of a policy.

    Args:
        labelled: A probability sample of clusters, adjudicated by people, with the bundle's logits.
        logit: The bundle's logits of a window of unlabelled traffic, float `[m]`, finite, at least one.
        cluster: Anything that tells the traffic's clusters apart, `[m]`.
        wish: What the operator asks for.
        thresholds: Those that were tried when there were fewer of these labels, float `[k]`; None takes a grid
            from the traffic.
        recorded: Whether a record of all tries on these labels is kept.

    Returns:
        The decision; it prunes nothing where nothing can be promised.

    Raises:
        ValueError: There is no traffic, or a logit of it is not finite.
    """
    window = np.asarray(logit, np.float64)
    if not len(window):
        raise ValueError("thresholds need a window of traffic")
    promise = wish.promise
    if thresholds is None:
        thresholds = grid(window, cluster, promise, labelled.n_clusters)
    proof = prove(labelled, promise, thresholds)
    review = review_below(window, prune=proof.threshold, max_share=wish.max_review_share)
    policy = Policy(prune=proof.threshold, review=review, rests_on="an estimate")
    action = policy.decide(window)
    acted = Acted(policy.decide(labelled.logit), labelled.severe, labelled.cluster, wish.cap)
    return Decision(
        wish=wish,
        proof=proof,
        review=review,
        n_clusters=labelled.n_clusters,
        needed=clusters_needed(promise),
        traffic={code.name.lower(): float((action == code).mean()) for code in ActionCode},
        expected=interval_each(acted.statistics, labelled.cluster),
        recorded=recorded,
    )


def review_below(logit: NDArray[np.float64], *, prune: float, max_share: float) -> float:
    """The lowest threshold at which people are sent no more than their share, prunes excluded.

    Args:
        logit: Of a window of traffic, float64 `[m]`, at least one.
        prune: Logits from here on are not reviewed.
        max_share: Of all traffic, from 0 to 1.

    Returns:
        A logit of the window, at most `prune`; `prune` itself where not even one pair fits the budget.
    """
    rest = np.sort(logit[logit < prune])[::-1]
    budget = math.floor(max_share * len(logit) + 1e-9)
    # Equal logits go together: a tie that would break the budget stays out.
    values, counts = np.unique(rest, return_counts=True)
    fits = np.cumsum(counts[::-1]) <= budget
    return float(values[::-1][fits][-1]) if fits.any() else prune


def clusters_needed(promise: Promise) -> Needed:
    """How many labelled clusters a promise takes, if each holds as many prunes as count.

    Args:
        promise: What is to be proven.

    Returns:
        The two numbers, by the very e-value that will have to be reached.
    """
    return Needed(
        without_error=_fewest(promise, 1.0),
        if_precise=_fewest(promise, ASSUMED_PRECISION) if promise.target < ASSUMED_PRECISION else None,
    )


def _fewest(promise: Promise, precision: float) -> int:
    """The fewest full clusters that reach the e-value, when errors come as often as the precision says."""
    needed = math.log(1 / (1 - promise.confidence))

    def reached(n: int) -> bool:
        pruned = np.full(n, promise.cap, np.int64)
        severe = pruned.copy()
        severe[: math.ceil(n * (1 - precision) - 1e-9)] = 0  # whole clusters misread: the worst way to err
        return log_e_value(pruned, severe, promise) >= needed

    high = 1
    while not reached(high) and high < _MOST_CLUSTERS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
