"""Whether those who label agree: among people, and between people and a judge.

Promises figures that chance is taken out of, and the shares behind them with cluster intervals. Agreement is about
the rubric's levels, in its order: an ordinal disagreement of one step counts less than one of three.
Needs the `train` extra.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import krippendorff
import numpy as np
from numpy.typing import NDArray

from actors.learn.bootstrap import Estimate, interval
from actors.learn.labels import Label, Labels, Sampling, Settled, Source
from actors.learn.metrics import share

MOST_COUPLES = 100
"""Couples of people that are compared: those with the most pairs in common."""
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
    """Cohen's, for two people with pairs in common, the most in common first: `"a / b"`. None where both always
    say the same one."""
    conflicts: tuple[int, ...]
    """Pairs of which one person says severe and another not, unless one of them settled it: places in
    `Labels.pairs`, ascending."""

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
            "conflicts": len(self.conflicts),
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
    settled = {row.pair for row in labels.rows if row.adjudicated}
    severe = {labels.rubric.levels.index(level) for level in labels.rubric.severe}
    conflicts = sorted(
        pair
        for pair, levels in many.items()
        if pair not in settled and len({level in severe for level in levels.values()}) > 1
    )
    n_levels = len(labels.rubric.levels)
    return Agreement(_alpha(many, n_levels), len(many), _kappas(many, n_levels), tuple(conflicts))


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
    for row in overlaps(labels, settled).get(annotator, ()):
        if row.level is not None:
            found.setdefault(row.level, []).append(row.pair)
    return {
        level: interval(share(np.array([severe[pair] for pair in found[level]])), cluster[found[level]])
        for level in labels.rubric.levels
        if level in found
    }


def overlaps(labels: Labels, settled: Settled) -> dict[str, list[Label]]:
    """What judges say of pairs on which people have spoken too, and which a random sample gave to both.

    Args:
        labels: All labels.
        settled: `labels.settled`.

    Returns:
        A judge's rows by its name, in the order read; a judge without such pairs has an empty list.
    """
    sampled = set(settled.pair[settled.random].tolist())
    found: dict[str, list[Label]] = {}
    for row in labels.rows:
        if row.source is Source.JUDGE:
            rows = found.setdefault(row.annotator, [])
            if row.sampling is Sampling.RANDOM and row.pair in sampled:
                rows.append(row)
    return found


def _by_pair(labels: Labels) -> dict[int, dict[str, int]]:
    """Levels by pair and person; who spoke twice is taken at the last word."""
    step = {level: i for i, level in enumerate(labels.rubric.levels)}
    said: dict[int, dict[str, int]] = {}
    for row in labels.rows:
        if row.source is Source.HUMAN and row.level is not None:
            said.setdefault(row.pair, {})[row.annotator] = step[row.level]
    return said


def _alpha(said: Mapping[int, Mapping[str, int]], n_levels: int) -> float | None:
    counts = np.zeros((len(said), n_levels))
    for row, levels in zip(counts, said.values(), strict=True):
        np.add.at(row, list(levels.values()), 1)
    if not len(counts):
        return None
    if np.count_nonzero(counts.sum(axis=0)) == 1:  # the library knows no chance where there is one level
        return 1.0
    domain = np.arange(n_levels)
    return float(krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement="ordinal"))


def _kappas(said: Mapping[int, Mapping[str, int]], n_levels: int) -> dict[str, float | None]:
    both: dict[tuple[str, str], NDArray[np.float64]] = {}
    for levels in said.values():
        for one, other in itertools.combinations(sorted(levels), 2):
            table = both.setdefault((one, other), np.zeros((n_levels, n_levels)))
            table[levels[one], levels[other]] += 1
    most = sorted(both, key=lambda couple: (-both[couple].sum(), couple))[:MOST_COUPLES]
    return {f"{one} / {other}": _kappa(both[one, other]) for one, other in most}


def _kappa(table: NDArray[np.float64]) -> float | None:
    """Cohen's, from how often the one said the row's level and the other the column's."""
    share = table / table.sum()
    by_chance = float(share.sum(axis=1) @ share.sum(axis=0))
    return None if by_chance == 1 else (float(np.trace(share)) - by_chance) / (1 - by_chance)
