"""What is done at which logit, what is promised about it, and on what the promise rests.

Thresholds act on the logit of severity: higher is worse. The policy is part of the bundle, because a
threshold means nothing without the weights and the map that it was set on. Pure.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.kinds import of_kind


class ActionCode(enum.IntEnum):
    """The policy's answer in a column of int8; harsher is higher."""

    PASS = 0
    REVIEW = 1
    PRUNE = 2


@dataclass(frozen=True, slots=True)
class Guarantee:
    """At least `target` of what is pruned is a severe violation, with `confidence`: see `learn.guarantee`."""

    target: float
    """Precision of the prune, above 0 and at most 1."""
    confidence: float
    """Probability that the promise holds over repeated draws of the labelled clusters, between 0 and 1."""
    cap: int
    """Pruned pairs of one cluster that count, at least 1."""

    def __post_init__(self) -> None:
        if not (0 < self.target <= 1 and 0 < self.confidence < 1 and self.cap >= 1):
            raise ValueError(
                f"not a guarantee: target {self.target}, confidence {self.confidence}, cap {self.cap}"
            )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Guarantee:
        """Read the fields by name. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(float(data["target"]), float(data["confidence"]), of_kind(int, data["cap"]))

    def __str__(self) -> str:
        counting = f"at most {self.cap} of a cluster counting"
        return f"precision of prune >= {self.target:g} with confidence {self.confidence:g}, {counting}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Two thresholds on the logit, and what is promised about the higher one."""

    prune: float
    """Logits from here on are pruned; infinity never prunes."""
    review: float
    """Logits from here on, below `prune`, go to people; at most `prune`."""
    rests_on: str
    """How the thresholds came about, for a person: a sample and a method, or "set by hand"."""
    guarantee: Guarantee | None = None
    """None promises nothing."""
    evidence: Mapping[str, Any] | None = None
    """What `learn.threshold.Decision.to_json` says: trials, shares, estimates. None where it was set by hand."""

    def __post_init__(self) -> None:
        if not -math.inf < self.review <= self.prune:
            raise ValueError(f"a policy needs review <= prune, not review {self.review}, prune {self.prune}")

    def decide(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.int8]:
        """Find the action for each logit.

        A logit that is not a number passes: the caller must not act on it.

        Args:
            logits: Severity, float32 or float64 `[n]`.

        Returns:
            Action codes, int8 `[n]`.
        """
        # In float64, or numpy would round the thresholds to float32 and the verdict would misquote them.
        exact = logits.astype(np.float64)
        return (exact >= self.review).astype(np.int8) + (exact >= self.prune).astype(np.int8)

    def to_json(self) -> dict[str, Any]:
        """Plain data; a threshold that is never reached is null, no guarantee is `"none"`."""
        promise = self.guarantee
        return {
            "prune": _finite_or_none(self.prune),
            "review": _finite_or_none(self.review),
            "rests_on": self.rests_on,
            "guarantee": "none"
            if promise is None
            else {
                "target": float(promise.target),
                "confidence": float(promise.confidence),
                "cap": promise.cap,
            },
            "evidence": None if self.evidence is None else dict(self.evidence),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        promise, evidence = data["guarantee"], data["evidence"]
        return cls(
            prune=_or_never(data["prune"]),
            review=_or_never(data["review"]),
            rests_on=of_kind(str, data["rests_on"]),
            guarantee=None if promise == "none" else Guarantee.from_json(promise),
            evidence=None if evidence is None else dict(evidence),
        )


def _finite_or_none(threshold: float) -> float | None:
    return float(threshold) if math.isfinite(threshold) else None


def _or_never(threshold: float | None) -> float:
    return math.inf if threshold is None else float(threshold)
