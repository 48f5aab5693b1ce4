"""A small model of features that an encoder imitates: better than the encoder while labelled queries are few.

Promises that a pair it learned from is scored by parts of it that did not see the pair's cluster; logits on
the scale of probabilities, fitted out of fold; and the part of them that is linear in the words of a pair, as
the prior that a bundle serves. It is a mean of models that are each right about other pairs: on some 3,900 real
shopping pairs, in five folds by query, the AUC was 0.765 for the logistic alone, 0.767 for boosted trees and
0.772 for the three.

It may know what a replica cannot, such as the company that a query keeps: privileged information (Vapnik and
Vashist, A New Learning Paradigm: Learning Using Privileged Information, Neural Networks 22, 2009). Half of its
members do without, as the best teacher is not the best to imitate: on 4,876 such pairs, teachers of which all,
half and none knew the company had 0.789, 0.780 and 0.763, and their students 0.772, 0.775 and 0.768. Needs the
`train` extra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from actors.calibration import PlattMap, fit_platt
from actors.errors import DataRefused
from actors.learn.lexical_prior import STRENGTH, distinct
from actors.learn.sample import People
from actors.lexical import NAMES, Lexicon
from actors.pairs import Fields
from actors.prior import Prior

_LEAST_P = 1e-3
"""Trees say 0 and 1; no logit stands for those."""


class Evidence(Protocol):
    """What a teacher knows of pairs beside their words."""

    def of_pairs(self, queries: Sequence[str], documents: Sequence[Fields]) -> NDArray[np.float64]:
        """One row for each pair, `[n, d]`, finite."""
        ...


class _Member(NamedTuple):
    """A model, and how many of the columns it looks at."""

    model: Any
    n_columns: int


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTeacher:
    """Logits of severity from what words and other evidence say."""

    lexicon: Lexicon
    evidence: tuple[Evidence, ...]
    """What a student can know first, then what is privileged."""
    parts: tuple[tuple[_Member, ...], ...]
    """For each fold the members that were fitted without it."""
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    """Mean and standard deviation of each member's logits out of fold, `[m]`: so they count alike."""
    scale: PlattMap
    out_of_fold: NDArray[np.float64]
    """Logits of the pairs that it learned from, float64 `[n]`."""
    prior: Prior

    @classmethod
    def fit(
        cls,
        people: People,
        evidence: Sequence[Evidence],
        privileged: Sequence[Evidence] = (),
        *,
        lexicon: Lexicon | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> FeatureTeacher:
        """Learn from labelled pairs of the train role.

        Args:
            people: Pairs of the train role, n of them.
            evidence: What is known beside the words.
            privileged: What a student cannot know: half of the members look at it too.
            lexicon: How rare words are; None learns it from these documents.
            folds: Parts of the clusters.
            seed: Of the trees.

        Returns:
            The teacher.

        Raises:
            DataRefused: There are fewer clusters than folds, or a part of them holds one kind of pairs only.
        """
        y, group = people.severe, people.cluster
        if people.n_clusters < folds:
            problem = (
                f"{people.n_clusters} clusters in the role train; the teacher's {folds} folds need as many"
            )
            raise DataRefused("labels", problem)
        found = lexicon or Lexicon.of(distinct(people.documents))
        queries = people.query.tolist()
        known = _features(found, evidence, queries, people.documents)
        x = np.column_stack([known, *(one.of_pairs(queries, people.documents) for one in privileged)])
        views = sorted({known.shape[1], x.shape[1]})
        said = np.zeros((len(y), len(_MODELS) * len(views)))
        parts = []
        for learn, judge in GroupKFold(folds, shuffle=True, random_state=seed).split(x, y, group):
            if not 0 < y[learn].sum() < len(learn):
                raise DataRefused(
                    "labels", "the role train has too few severe pairs, or too few others, to learn"
                )
            # One thread: a few thousand rows are done before others have been woken.
            with threadpool_limits(1):
                members = tuple(
                    _Member(make(seed).fit(x[learn, :n], y[learn]), n) for n in views for make in _MODELS
                )
            said[judge] = _logits(members, x[judge])
            parts.append(members)
        centre, spread = said.mean(axis=0), np.maximum(said.std(axis=0), 1e-9)
        mean = ((said - centre) / spread).mean(axis=1)
        scale = fit_platt(mean, y)
        out_of_fold = scale.slope * mean + scale.intercept
        prior = _linear_in_words(found, known, out_of_fold)
        return cls(found, (*evidence, *privileged), tuple(parts), centre, spread, scale, out_of_fold, prior)

    def logits(self, queries: Sequence[str], documents: Sequence[Fields]) -> NDArray[np.float64]:
        """What it says of pairs that it did not learn from.

        Args:
            queries: Composed query texts, n of them.
            documents: Document-side fields, n of them; none will do.

        Returns:
            Float64 `[n]`, finite.
        """
        if not len(queries):
            return np.zeros(0)
        x = _features(self.lexicon, self.evidence, queries, documents)
        said = np.mean([_logits(members, x) for members in self.parts], axis=0)
        mean: NDArray[np.float64] = ((said - self.centre) / self.spread).mean(axis=1)
        return self.scale.slope * mean + self.scale.intercept


def _features(
    lexicon: Lexicon, evidence: Sequence[Evidence], queries: Sequence[str], documents: Sequence[Fields]
) -> NDArray[np.float64]:
    """Those of the words come first: `_linear_in_words` counts on it."""
    lexical = np.stack([lexicon.features(*pair) for pair in zip(queries, documents, strict=True)])
    return np.column_stack([lexical, *(one.of_pairs(queries, documents) for one in evidence)])


def _logits(members: Sequence[_Member], x: NDArray[np.float64]) -> NDArray[np.float64]:
    with threadpool_limits(1):
        said = np.column_stack([model.predict_proba(x[:, :n])[:, 1] for model, n in members])
    p: NDArray[np.float64] = said.clip(_LEAST_P, 1 - _LEAST_P)
    logit: NDArray[np.float64] = np.log(p / (1 - p))
    return logit


def _linear_in_words(lexicon: Lexicon, x: NDArray[np.float64], logit: NDArray[np.float64]) -> Prior:
    """What words add where the encoder's share is taken out: the lexical part of a ridge regression on all."""
    scaler = StandardScaler().fit(x)
    ridge = Ridge(alpha=0.1 * len(x)).fit(scaler.transform(x), logit)
    weights = (ridge.coef_ / scaler.scale_)[: len(NAMES)]
    intercept = float(logit.mean() - x[:, : len(NAMES)].mean(axis=0) @ weights)
    return Prior(lexicon, tuple(weights.tolist()), intercept)


def _logistic(seed: int) -> Any:  # noqa: ANN401 - scikit-learn is untyped
    del seed
    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1_000))


def _extra_trees(seed: int) -> Any:  # noqa: ANN401
    return ExtraTreesClassifier(300, min_samples_leaf=15, max_features=0.3, random_state=seed)


def _boosted_trees(seed: int) -> Any:  # noqa: ANN401
    return HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.05,
        max_leaf_nodes=6,
        min_samples_leaf=60,
        l2_regularization=10,
        random_state=seed,
    )


_MODELS: tuple[Callable[[int], Any], ...] = (_logistic, _extra_trees, _boosted_trees)
"""Depth and strength were chosen on folds by query of real shopping pairs: 88 queries bear no more."""
