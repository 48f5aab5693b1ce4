"""What a judge's word is worth: how often people say severe where the judge says a level.

Promises a probability for every level and segment that the judge uses, from pairs that both a person and the judge
labelled and that were drawn at random; from others it would learn how they were chosen. What was seen seldom is
pulled towards what was seen more: a segment's level towards the level's share, a level towards the overall share.
Source of the smoothing: shrinkage of a binomial share by pseudo-counts, Gelman et al., Bayesian Data Analysis
(third edition, 2013), section 5.3. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.labels import Label, Labels, Sampling, Settled, Source

PSEUDO_PAIRS = 10.0
"""How many pairs the broader share counts as."""
_BINS = 10
"""Of a judge's probabilities: as many levels, each as wide."""
LEAST_OVERLAP = 30
"""Pairs labelled by both, below which nothing can be said of a judge."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pairs that a judge and people have labelled, drawn at random: columns of equal length."""

    level: Sequence[str]
    """What the judge said, n of them."""
    segment: Sequence[str | None]
    severe: NDArray[np.float64]
    """What people say: share of the annotators that say severe, float64 `[n]`, from 0 to 1."""

    @property
    def lacking(self) -> str | None:
        """Why nothing can be learned from it; None where something can."""
        n = len(self.severe)
        if n < LEAST_OVERLAP:
            return f"{n} pairs drawn at random have labels of people too, {LEAST_OVERLAP} are needed"
        if self.severe.min() == self.severe.max():
            return f"people say the same of all {n} pairs that it labelled too"
        return None


@dataclass(frozen=True, slots=True)
class JudgeMap:
    """P(people say severe | the judge's level, the segment)."""

    overall: float
    """For a level that the overlap does not hold."""
    by_level: Mapping[str, float]
    by_segment: Mapping[tuple[str, str], float]
    """By level and segment."""
    n: int
    """Pairs that it rests on."""

    def p_severe(self, level: str, segment: str | None = None) -> float:
        """The most particular probability there is; between 0 and 1, neither of them reached."""
        broad = self.by_level.get(level, self.overall)
        return broad if segment is None else self.by_segment.get((level, segment), broad)

    def targets(self, level: Sequence[str], segment: Sequence[str | None]) -> NDArray[np.float64]:
        """`p_severe` for each, float64 `[n]`."""
        pairs = zip(level, segment, strict=True)
        return np.fromiter((self.p_severe(*pair) for pair in pairs), np.float64, len(level))

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a report."""
        return {
            "n": self.n,
            "overall": self.overall,
            "by_level": dict(self.by_level),
            "by_segment": [
                {"level": level, "segment": segment, "p_severe": p}
                for (level, segment), p in self.by_segment.items()
            ],
        }


def overlaps(labels: Labels, settled: Settled) -> dict[str, list[Label]]:
    """What judges say of pairs on which people have spoken too, and which a random sample gave to both.

    Args:
        labels: All labels.
        settled: `labels.settled`.

    Returns:
        A judge's rows by its name, of each pair the last; a judge without such pairs has an empty list.
    """
    sampled = set(settled.pair[settled.random].tolist())
    found: dict[str, dict[int, Label]] = {}
    for row in labels.rows:
        if row.source is Source.JUDGE:
            last = found.setdefault(row.annotator, {})
            if row.sampling is Sampling.RANDOM and row.pair in sampled:
                last[row.pair] = row
    return {name: [*last.values()] for name, last in found.items()}


def level(row: Label) -> str:
    """What a judge said: its level, or else the tenth in which its probability lies."""
    if row.level is not None:
        return row.level
    return f"p >= {min(int(row.p_severe * _BINS), _BINS - 1) / _BINS:.1f}"


def learn_judge(overlap: Overlap, *, name: str = "the judge", pseudo: float = PSEUDO_PAIRS) -> JudgeMap:
    """Count, and pull what was seen seldom towards what was seen more.

    Args:
        overlap: Labelled by both.
        name: Of the judge, for an error.
        pseudo: How many pairs the broader share counts as, above 0.

    Returns:
        The map.

    Raises:
        DataRefused: The overlap is too small, or people say the same of all of it.
        ValueError: A share is not from 0 to 1, or the broader share counts as nothing.
    """
    severe = np.asarray(overlap.severe, np.float64)
    if not ((severe >= 0) & (severe <= 1)).all() or not pseudo > 0:
        raise ValueError("needs shares from 0 to 1, and a broader share that counts")
    if overlap.lacking is not None:
        to_do = "let people label more of a random sample of what it labelled"
        raise DataRefused(name, f"{overlap.lacking}: {to_do}")
    overall = float(severe.mean())
    of_level: dict[str, list[float]] = {}
    of_segment: dict[tuple[str, str], list[float]] = {}
    for level, segment, share in zip(overlap.level, overlap.segment, severe.tolist(), strict=True):
        of_level.setdefault(level, []).append(share)
        if segment is not None:
            of_segment.setdefault((level, segment), []).append(share)
    by_level = {level: _pulled(of_level[level], overall, pseudo) for level in sorted(of_level)}
    by_segment = {both: _pulled(of_segment[both], by_level[both[0]], pseudo) for both in sorted(of_segment)}
    return JudgeMap(overall, by_level, by_segment, len(severe))


def _pulled(shares: Sequence[float], towards: float, pseudo: float) -> float:
    return (math.fsum(shares) + pseudo * towards) / (len(shares) + pseudo)
