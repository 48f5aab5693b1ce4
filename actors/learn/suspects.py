"""Labels that are likely wrong: those that a model of the other clusters' labels doubts most.

For people to look at, and for nothing else. Promises never to drop or change a row: what a model doubts is also
what it has yet to learn, and a role whose hard pairs were taken out would promise too much. Source: confident
learning, Northcutt, Jiang and Chuang, JAIR 70 (2021), as the library cleanlab has it. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import ArrayLike, NDArray

from actors.calibration import sigmoid
from actors.errors import CalibrationFailed
from actors.learn.bootstrap import Estimate, interval
from actors.learn.lexical_prior import out_of_fold
from actors.learn.listing import LISTED, Listed, show
from actors.learn.metrics import auc
from actors.learn.sample import Sample


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is likely wrong."""

    row: int
    """Its place in what was given."""
    severe: bool
    """What the label says."""
    p_severe: float
    """What the model says."""
    quality: float
    """Probability of the label under the model: the lower, the likelier it is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspected:
    """Labels that are likely wrong: for people to look at. No row is dropped for it, from any role."""

    basis: str
    """Whose probabilities they are, or why there are none."""
    found: Listed
    auc: Estimate | None = None
    """How well the probabilities tell the labels apart: near 0.5 they are no reason to suspect anything."""
    p_severe: NDArray[np.float64] | None = None
    """Of each pair that was looked at, float64 `[m]`."""
    severe: NDArray[np.bool_] | None = None
    """What its label says, bool `[m]`."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "basis": self.basis,
            "auc": None if self.auc is None else self.auc.to_json(),
            **self.found.to_json(),
        }


def suspect(sample: Sample, p_severe: NDArray[np.float64] | None) -> Suspected:
    """Ask who doubts which label: the data's own probabilities, or what words say, out of fold by cluster.

    Args:
        sample: All pairs.
        p_severe: Probabilities for all pairs by a model that did not learn from their clusters, float64 `[n]`, NaN
            for a pair that has none; None asks the words.

    Returns:
        The labels that are likely wrong, the likeliest first.
    """
    settled = sample.settled
    rows = (
        np.arange(len(settled.pair))
        if p_severe is None
        else np.flatnonzero(~np.isnan(p_severe[settled.pair]))
    )
    pair, severe = settled.pair[rows], settled.severe[rows]
    cluster = sample.cluster[pair]
    if not 0 < severe.sum() < len(severe):
        return Suspected("nothing to compare: people's labels are of one kind", Listed(0))
    if p_severe is None:
        basis = "what the words say to a model of the other clusters (16 lexical features, out of fold)"
        documents = [sample.labels.pairs[place].document for place in pair.tolist()]
        queries = [sample.query[place] for place in pair.tolist()]
        try:
            p = sigmoid(out_of_fold(queries, documents, severe, cluster))
        except CalibrationFailed as error:
            return Suspected(f"nothing to compare: {error}", Listed(0))
    else:
        basis, p = "the probabilities in the data, which should be out of fold", p_severe[pair]
    found = suspects(severe, p)
    shown = tuple(
        show(
            sample,
            int(pair[one.row]),
            f"labelled {'severe' if one.severe else 'not severe'}, stated probability {one.p_severe:.2f}",
        )
        for one in found[:LISTED]
    )
    return Suspected(basis, Listed(len(found), shown), interval(auc(p, severe), cluster), p, severe)


def suspects(severe: ArrayLike, p_severe: ArrayLike) -> tuple[Suspect, ...]:
    """The labels that are likely wrong, the likeliest first.

    Args:
        severe: What the labels say, bool `[n]`, of both kinds.
        p_severe: Probabilities by a model that did not learn from the pair's cluster, float `[n]`, from 0 to 1.

    Returns:
        The suspects; perhaps none.

    Raises:
        ValueError: The labels are of one kind, or a probability is none.
    """
    y, p = np.asarray(severe, np.bool_), np.asarray(p_severe, np.float64)
    if y.shape != p.shape or not 0 < y.sum() < len(y) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("needs labels of both kinds, and a probability for each")
    by_class: NDArray[np.float64] = np.column_stack([1 - p, p])
    said = y.astype(np.int64)
    rows = find_label_issues(
        said, by_class, return_indices_ranked_by="self_confidence", min_examples_per_class=0, n_jobs=1
    )
    quality = get_label_quality_scores(said, by_class, method="self_confidence")
    return tuple(
        Suspect(row, bool(y[row]), float(p[row]), float(quality[row])) for row in np.asarray(rows).tolist()
    )
