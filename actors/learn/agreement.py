"""Whether those who label agree: among people, and between people and a judge.

Promises figures that chance is taken out of, and the shares behind them with cluster intervals. Agreement is about
the rubric's levels, in its order: an ordinal disagreement of one step counts less than one of three.
Needs the `train` extra.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import krippendorff
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from actors.learn.bootstrap import Estimate, interval
from actors.learn.labels import Labels, Sampling, Source
from actors.learn.metrics import share

NEAR_CHANCE = 0.2
"""Slight agreement or none, by Landis and Koch, Biometrics 33 (1977): who trains on it learns noise."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far those who label say the same."""

    alpha: float | None
    """Krippendorff's, ordinal, over all people; 1 is perfect and 0 chance. None if no two labelled one pair."""
    n_pairs: int
    """Pairs that two people or more have labelled."""
    kappa: Mapping[str, float | None]
    """Cohen's, for each two people with a pair in common: `"a / b"`. None where both always say the same one."""
    n_conflicts: int
    """Pairs of which one person says severe and another not, unless one of them settled it."""

    @property
    def near_chance(self) -> bool:
        """Whether people agree so little that nothing can be learned."""
        return self.alpha is not None and self.alpha < NEAR_CHANCE

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "krippendorff_alpha": self.alpha,
            "pairs_labelled_twice": self.n_pairs,
            "cohen_kappa": dict(self.kappa),
            "conflicts": self.n_conflicts,
        }


def among_people(labels: Labels) -> Agreement:
    """Compare people with each other.

    Args:
        labels: All labels; those of judges and rules, and those without a level, are left out.

    Returns:
        The figures.
    """
    said = _by_pair(labels)
    many = {pair: levels for pair, levels in said.items() if len(levels) > 1}
    people = sorted({name for levels in many.values() for name in levels})
    line = {name: i for i, name in enumerate(people)}
    table = np.full((len(people), len(many)), np.nan)
    for column, levels in enumerate(many.values()):
        for name, level in levels.items():
            table[line[name], column] = level
    settled = {row.pair for row in labels.rows if row.adjudicated}
    severe = {labels.rubric.levels.index(level) for level in labels.rubric.severe}
    conflicts = [
        pair
        for pair, levels in many.items()
        if pair not in settled and len({level in severe for level in levels.values()}) > 1
    ]
    return Agreement(_alpha(table), len(many), _kappas(people, table), len(conflicts))


def judge_against_people(
    labels: Labels, cluster: NDArray[np.int64], annotator: str
) -> Mapping[str, Estimate]:
    """How often people say severe, for each level of a judge.

    Args:
        labels: All labels.
        cluster: The cluster of each of `labels.pairs`, int `[n]`.
        annotator: The judge's name.

    Returns:
        By level, where there is a pair that a random sample gave to both: the share that is severe for people.
    """
    settled = labels.settled
    severe = dict(zip(settled.pair.tolist(), settled.severe.tolist(), strict=True))
    found: dict[str, list[int]] = {}
    for row in labels.rows:
        by_judge = row.source is Source.JUDGE and row.annotator == annotator
        if by_judge and row.level is not None and row.sampling is Sampling.RANDOM and row.pair in severe:
            found.setdefault(row.level, []).append(row.pair)
    return {
        level: interval(share(np.array([severe[pair] for pair in found[level]])), cluster[found[level]])
        for level in labels.rubric.levels
        if level in found
    }


def _by_pair(labels: Labels) -> dict[int, dict[str, int]]:
    """Levels by pair and person; who spoke twice is taken at the last word."""
    step = {level: i for i, level in enumerate(labels.rubric.levels)}
    said: dict[int, dict[str, int]] = {}
    for row in labels.rows:
        if row.source is Source.HUMAN and row.level is not None:
            said.setdefault(row.pair, {})[row.annotator] = step[row.level]
    return said


def _alpha(table: NDArray[np.float64]) -> float | None:
    given = table[~np.isnan(table)]
    if not len(given):
        return None
    if len(Counter(given.tolist())) == 1:  # the library knows no chance where there is one level
        return 1.0
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))


def _kappas(people: Sequence[str], table: NDArray[np.float64]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for one, other in itertools.combinations(range(len(people)), 2):
        both = ~np.isnan(table[[one, other]]).any(axis=0)
        if both.any():
            a, b = table[one, both].astype(int), table[other, both].astype(int)
            alike = len({*a.tolist(), *b.tolist()}) == 1
            found[f"{people[one]} / {people[other]}"] = None if alike else float(cohen_kappa_score(a, b))
    return found
