"""Labels that are likely wrong: those that a model of the other clusters' labels doubts most.

For people to look at, and for nothing else. Promises never to drop or change a row: what a model doubts is also
what it has yet to learn, and a role whose hard pairs were taken out would promise too much. Source: confident
learning, Northcutt, Jiang and Chuang, JAIR 70 (2021), as the library cleanlab has it. Needs the `train` extra.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import ArrayLike, NDArray


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
