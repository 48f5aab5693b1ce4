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

from actors.learn.bootstrap import Estimate, interval
from actors.learn.judge import LEAST_OVERLAP, level, overlaps
from actors.learn.labels import Label, Labels, Source
from actors.learn.listing import LINE, LISTED, Listed, one_line, show
from actors.learn.metrics import auc, share
from actors.learn.rows import train_overlaps
from actors.learn.sample import Sample

MOST_COUPLES = 100
"""Couples of people that are compared: those with the most pairs in common."""
MOST_JUDGES = 50
"""Judges that are compared with people: those with the most labels."""
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
    n_alone: int
    """Pairs of which one person alone has spoken, and that nobody settled since: what rests on them rests on that
    person's word."""

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
            "pairs_of_one_person": self.n_alone,
        }


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge, held against people."""

    name: str
    n_labels: int
    n_overlap: int
    """Pairs of a probability sample on which people have spoken too."""
    n_severe: int
    """Those of the overlap that people call severe."""
    auc: Estimate | None
    """Chance that it says worse of a pair that is severe for people than of another; None where the overlap is too
    small, or all of one kind."""
    by_level: Mapping[str, Estimate]
    """Share that is severe for people, by the judge's level, or the tenth in which its probability lies."""
    lacking: str | None
    """Why what its word is worth cannot be learned from the role `train`; None where it can, or where it labelled
    nothing of that role."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "labels": self.n_labels,
            "overlap": self.n_overlap,
            "overlap_severe": self.n_severe,
            "auc": None if self.auc is None else self.auc.to_json(),
            "severe_by_level": {level: one.to_json() for level, one in self.by_level.items()},
            "lacking_in_train": self.lacking,
        }


def among_people(labels: Labels) -> Agreement:
    """Compare people with each other.

    Args:
        labels: All labels; those of judges and rules are left out, and those without a level: but where people
            gave probabilities alone, whether they say severe is compared.

    Returns:
        The figures.
    """
    said = _by_pair(labels)
    many = {pair: levels for pair, levels in said.items() if len(levels) > 1}
    settled = {row.pair for row in labels.rows if row.adjudicated and row.source is Source.HUMAN}
    severe = {labels.rubric.levels.index(level) for level in labels.rubric.severe}
    conflicts = sorted(
        pair
        for pair, levels in many.items()
        if pair not in settled and len({level in severe for level in levels.values()}) > 1
    )
    n_levels = len(labels.rubric.levels)
    return Agreement(
        alpha=_alpha(many, n_levels),
        n_pairs=len(many),
        kappa=_kappas(many, n_levels),
        conflicts=tuple(conflicts),
        n_alone=len(_alone(labels) - settled),
    )


def compare_judges(sample: Sample) -> tuple[Judge, ...]:
    """Compare judges with people.

    Args:
        sample: All pairs.

    Returns:
        Every judge, the one with most labels first; of those beyond `MOST_JUDGES` the overlap is counted alone.
    """
    labels, settled = sample.labels, sample.settled
    n_labels = Counter(row.annotator for row in labels.rows if row.source is Source.JUDGE)
    severe = dict(zip(settled.pair.tolist(), settled.severe.tolist(), strict=True))
    both, trained = overlaps(labels, settled), train_overlaps(sample)
    found = []
    for place, (name, n) in enumerate(n_labels.most_common()):
        pairs = {row.pair for row in both[name]}
        n_severe = sum(severe[pair] for pair in pairs)
        enough = len(pairs) >= LEAST_OVERLAP and 0 < n_severe < len(pairs)
        few = place < MOST_JUDGES
        found.append(
            Judge(
                name=one_line(name) or "without a name",
                n_labels=n,
                n_overlap=len(pairs),
                n_severe=n_severe,
                auc=_auc_of(both[name], severe, sample) if enough and few else None,
                by_level=_by_level(both[name], severe, sample) if few else {},
                lacking=trained[name].lacking if name in trained else None,
            )
        )
    return tuple(found)


def list_conflicts(sample: Sample, places: Sequence[int]) -> Listed:
    """What people say of the pairs on which they disagree.

    Args:
        sample: All pairs.
        places: Of the pairs.

    Returns:
        The first of them, with each person's level.
    """
    told: dict[int, list[str]] = {place: [] for place in places[:LISTED]}
    for row in sample.labels.rows:
        if row.source is Source.HUMAN and row.pair in told:
            level = row.level if row.level is not None else f"{row.p_severe:.2f}"
            told[row.pair].append(f"{one_line(row.annotator, LINE // 2) or 'somebody'}: {level}")
    return Listed(len(places), tuple(show(sample, place, "; ".join(said)) for place, said in told.items()))


def _by_pair(labels: Labels) -> dict[int, dict[str, int]]:
    """Levels by pair and person; who spoke twice is taken at the last word."""
    levels, severe = labels.rubric.levels, labels.rubric.severe
    step = {level: i for i, level in enumerate(levels)}
    severe_or_not = [next(level for level in levels if (level in severe) is is_so) for is_so in (False, True)]
    people = [row for row in labels.rows if row.source is Source.HUMAN]
    graded = any(row.level is not None for row in people)
    said: dict[int, dict[str, int]] = {}
    for row in people:
        level = row.level if graded else severe_or_not[row.p_severe > 0.5]
        if level is not None:
            said.setdefault(row.pair, {})[row.annotator] = step[level]
    return said


def _alone(labels: Labels) -> set[int]:
    """Pairs with one opinion; people without a name count as many."""
    who: dict[int, set[str | int]] = {}
    for place, row in enumerate(labels.rows):
        if row.source is Source.HUMAN:
            who.setdefault(row.pair, set()).add(row.annotator or place)
    return {pair for pair, names in who.items() if len(names) == 1}


def _by_level(rows: Sequence[Label], severe: Mapping[int, bool], sample: Sample) -> dict[str, Estimate]:
    """How often people say severe, for each level that the judge used."""
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(level(row), []).append(row.pair)
    levels = sample.labels.rubric.levels
    return {
        level: interval(
            share(np.array([severe[pair] for pair in found[level]])), sample.cluster[found[level]]
        )
        for level in (*(one for one in levels if one in found), *sorted(found.keys() - set(levels)))
    }


def _auc_of(rows: Sequence[Label], severe: Mapping[int, bool], sample: Sample) -> Estimate:
    """The judge's word in order: its probability, and among equal ones the rubric's gain."""
    gains = sample.labels.rubric.gains
    order = sorted(set(gains.values()), reverse=True)
    step = {level: order.index(gain) / (1_000 * len(order)) for level, gain in gains.items()}
    score = [row.p_severe + step.get(row.level or "", 0.0) for row in rows]
    pairs = [row.pair for row in rows]
    return interval(auc(score, [severe[pair] for pair in pairs]), sample.cluster[pairs])


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
