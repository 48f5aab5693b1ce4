"""What a bundle is worth on labelled pairs that it did not learn from, each figure with a cluster interval.

Promises that two models are compared on equal pairs and equal draws; that nothing here is a promise, as
`guarantee` gives it; and that what is undefined is said to be, not left out. Pure: logits in, figures out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from actors.calibration import CalibrationMap
from actors.learn import metrics, reliability
from actors.learn.bootstrap import (
    ENOUGH_CLUSTERS,
    Difference,
    Estimate,
    Statistic,
    differences,
    interval_each,
)
from actors.policy import ActionCode, Policy

if TYPE_CHECKING:
    from actors.learn.sample import People

TITLES: Mapping[str, str] = {
    "auc": "AUC",
    "auc_within_query": "AUC within a query",
    "average_precision": "average precision",
    "share_prune": "coverage: pairs pruned",
    "share_review": "pairs for review",
    "share_pass": "pairs passed",
    "severe_prune": "severe pairs pruned",
    "severe_review": "severe pairs for review",
    "severe_pass": "severe pairs passed",
    "precision_capped": "precision of prune, capped",
    "precision_pairs": "precision of prune, pairs",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "expected_calibration_error": "expected calibration error",
}
"""What people call the figures, in the order to show them."""
_Figure = TypeVar("_Figure")


def titled(figures: Mapping[str, _Figure]) -> Iterator[tuple[str, _Figure]]:
    """The figures that are there by what people call them, in the order to show them."""
    return ((title, figures[name]) for name, title in TITLES.items() if name in figures)


SEGMENT_CLUSTERS = 5
"""With fewer a segment is not told of alone."""
MOST_SEGMENTS = 20
OTHER_SEGMENTS = "(all others)"
RANKING = ("auc", "auc_within_query", "average_precision")
"""Figures that do not depend on thresholds."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Scored pairs that people have settled: columns of equal length, at least one row."""

    logit: NDArray[np.float64]
    """Severity, float64 `[n]`, finite."""
    severe: NDArray[np.bool_]
    """Bool `[n]`."""
    query: NDArray[Any]
    """Tells queries apart, `[n]`."""
    cluster: NDArray[Any]
    """Tells clusters apart, `[n]`; all pairs of a query are in one."""
    segment: NDArray[Any] | None = None
    """Names of segments, `[n]`."""

    def __post_init__(self) -> None:
        columns = (self.severe, self.query, self.cluster, self.segment)
        lengths = {len(self.logit), *(len(column) for column in columns if column is not None)}
        if len(lengths) != 1 or not len(self.logit) or not np.isfinite(self.logit).all():
            raise ValueError("needs columns of one length, at least one row, and finite logits")

    @classmethod
    def of(cls, people: People, logit: NDArray[np.float64]) -> Judged:
        """Pairs that people have settled, with a model's logits of them, float64 `[n]`."""
        return cls(logit, people.severe, people.query, people.cluster, people.segment)

    def where(self, rows: NDArray[np.bool_]) -> Judged:
        """The rows that are true."""
        segment = None if self.segment is None else self.segment[rows]
        return Judged(self.logit[rows], self.severe[rows], self.query[rows], self.cluster[rows], segment)

    def by_segment(self) -> dict[str, Judged]:
        """The rows of each segment, by its name; empty where there are none.

        Segments of fewer than `SEGMENT_CLUSTERS` clusters, and all but the `MOST_SEGMENTS` largest, are pooled,
        last, as `OTHER_SEGMENTS`: of each alone nothing could be said.

        Returns:
            By name, sorted.
        """
        if self.segment is None:
            return {}
        rows = {name: self.segment == name for name in sorted(set(self.segment.tolist()), key=str)}
        large = [name for name, of in rows.items() if len(np.unique(self.cluster[of])) >= SEGMENT_CLUSTERS]
        shown = set(sorted(large, key=lambda name: -rows[name].sum())[:MOST_SEGMENTS])
        parts = {str(name): self.where(of) for name, of in rows.items() if name in shown}
        rest = ~np.isin(self.segment, list(shown))
        return parts | ({OTHER_SEGMENTS: self.where(rest)} if rest.any() else {})


@dataclass(frozen=True, slots=True)
class Acting:
    """What a bundle makes of its logits."""

    policy: Policy
    calibration: CalibrationMap


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one bundle."""

    n_pairs: int
    n_severe: int
    n_clusters: int
    cap: int
    """Pruned pairs of one cluster that count, in `precision_capped`."""
    figures: Mapping[str, Estimate]
    """`auc`, `auc_within_query`, `average_precision`, and those of `metrics.Acted`."""
    reliability: reliability.Reliability
    by_segment: Mapping[str, Evaluation]
    """The same for each segment: to look at, nothing is decided by it."""

    @property
    def approximate(self) -> bool:
        """Whether there are too few clusters for the intervals to hold what they say."""
        return self.n_clusters < ENOUGH_CLUSTERS

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {
            "n_pairs": self.n_pairs,
            "n_severe": self.n_severe,
            "n_clusters": self.n_clusters,
            "cap": self.cap,
            "figures": _plain(self.figures),
            "calibration": self.reliability.to_json(),
            "approximate": self.approximate,
            "by_segment": {name: part.to_json() for name, part in self.by_segment.items()},
        }


def evaluate(judged: Judged, policy: Policy, calibration: CalibrationMap, *, cap: int) -> Evaluation:
    """Measure a bundle.

    Args:
        judged: Pairs with the bundle's logits.
        policy: The bundle's.
        calibration: The bundle's.
        cap: Pruned pairs of one cluster that count, in `precision_capped`.

    Returns:
        All figures.
    """
    acted = metrics.Acted(policy.decide(judged.logit), judged.severe, judged.cluster, cap)
    parts = judged.by_segment()
    return Evaluation(
        n_pairs=len(judged.logit),
        n_severe=int(judged.severe.sum()),
        n_clusters=len(np.unique(judged.cluster)),
        cap=cap,
        figures=interval_each(_ranking(judged, judged.logit) | acted.statistics, judged.cluster),
        reliability=reliability.judge(calibration.p_severe(judged.logit), judged.severe, judged.cluster),
        by_segment={
            name: evaluate(replace(part, segment=None), policy, calibration, cap=cap)
            for name, part in parts.items()
        },
    )


def compare(
    judged: Judged, other_logit: NDArray[np.float64], acting: tuple[Acting, Acting] | None = None
) -> dict[str, Difference]:
    """How much better these logits rank than another model's, on the same pairs and draws.

    Args:
        judged: Pairs with the logits of the one.
        other_logit: Logits of the other, float64 `[n]`, finite.
        acting: What the one and the other make of their logits; None compares ranks only.

    Returns:
        This one's less the other's: `auc`, `auc_within_query` and `average_precision`, and with `acting` also
        `brier` and the shares of the severe pairs that are pruned, reviewed and passed. It ranks better, with
        confidence, where the lower end is above 0; of the Brier score less is better.
    """
    ours, theirs = _ranking(judged, judged.logit), _ranking(judged, other_logit)
    if acting is not None:
        ours |= _acted_upon(judged, judged.logit, acting[0])
        theirs |= _acted_upon(judged, other_logit, acting[1])
    return differences(ours, theirs, judged.cluster)


def _acted_upon(judged: Judged, logit: NDArray[np.float64], acting: Acting) -> dict[str, Statistic]:
    """The Brier score, and what becomes of the severe pairs."""
    action = acting.policy.decide(logit)
    shares = {
        f"severe_{code.name.lower()}": metrics.share(action == code, judged.severe) for code in ActionCode
    }
    error = (acting.calibration.p_severe(logit) - judged.severe) ** 2
    return {"brier": metrics.ratio(error, np.ones_like(error)), **shares}


def _ranking(judged: Judged, logit: NDArray[np.float64]) -> dict[str, Statistic]:
    return {
        "auc": metrics.auc(logit, judged.severe),
        "auc_within_query": metrics.auc_within(logit, judged.severe, judged.query),
        "average_precision": metrics.average_precision(logit, judged.severe),
    }


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_json() for name, estimate in figures.items()}
