"""Labels as they were given: one row per pair and opinion; and what people say of a pair all together.

Who said it (a person, a judge, a rule), how the pair was chosen and which cluster it is of travel with the row:
what may rest on it is decided elsewhere. Knows neither files nor models nor bundles. Pure.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actors.pairs import Fields
from actors.rubric import Rubric


class Source(enum.StrEnum):
    """Who gave a label."""

    HUMAN = "human"
    """A person: one row per annotator."""
    JUDGE = "judge"
    """A model that was asked."""
    WEAK = "weak"
    """A rule or a signal."""


class Sampling(enum.StrEnum):
    """How a pair came to be labelled."""

    RANDOM = "random"
    """A probability sample: of clusters, all or a uniform number of pairs in each."""
    BY_SCORE = "by_score"
    """Chosen by some score: fit to train on, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a file is what. None: there is none, and the default beside it holds for every row."""

    query: Mapping[str, str] = field(default_factory=lambda: {"text": "query"})
    """Query-side field to column."""
    document: Mapping[str, str] = field(default_factory=lambda: {"text": "document"})
    """Document-side field to column."""
    level: str | None = "level"
    """A level of the rubric."""
    p_severe: str | None = None
    """A probability of a severe level, where there is no level; from 0 to 1."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """Level of the rubric to the column with its probability, where there is no level: their sum is 1."""
    source: str | None = None
    """`human`, `judge` or `weak`."""
    annotator: str | None = None
    """Which person, or which model."""
    sampling: str | None = None
    """`random` or `by_score`."""
    adjudicated: str | None = None
    """True where this row settles the pair, whatever others said."""
    cluster: str | None = None
    """Queries that are alike; otherwise found from their texts."""
    segment: str | None = None
    """A part of the traffic to report on; a list is a path."""
    time: str | None = None
    """When the label was given, ISO 8601: of who spoke twice, the latest word counts; otherwise the last row."""
    default_source: Source = Source.HUMAN
    default_sampling: Sampling = Sampling.RANDOM


@dataclass(frozen=True, slots=True)
class Pair:
    """What was labelled: one candidate."""

    query: Fields
    document: Fields
    cluster: str | None
    """As declared."""
    segment: str | None


@dataclass(frozen=True, slots=True)
class Label:
    """One opinion about one pair."""

    pair: int
    """Its place in `Labels.pairs`."""
    source: Source
    annotator: str
    level: str | None
    """None where only probabilities were given."""
    p_severe: float
    """0 or 1 where a level was given."""
    sampling: Sampling
    adjudicated: bool
    time: str | None = None
    """UTC, ISO 8601 with microseconds, so that texts are in the order of times."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """All labels, and the pairs that they are about. Equal texts are one pair."""

    rubric: Rubric
    pairs: tuple[Pair, ...]
    rows: tuple[Label, ...]
    """Of each pair the earlier opinions before the later."""

    @property
    def settled(self) -> Settled:
        """What people say of the pairs that people have labelled."""
        return _settle(self)


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """Pairs on which people have spoken, one row each."""

    pair: NDArray[np.int64]
    """Places in `Labels.pairs`, int64 `[m]`, ascending."""
    severe: NDArray[np.bool_]
    """What settles the pair: the last adjudicated row, else the majority of annotators, each by the last
    word; a tie is not severe, as who prunes needs more than a doubt. Bool `[m]`."""
    share_severe: NDArray[np.float64]
    """Share of the annotators that say severe, float64 `[m]`: what is learned from."""
    random: NDArray[np.bool_]
    """Whether any of its labels is of a probability sample, bool `[m]`."""


def _settle(labels: Labels) -> Settled:
    opinions: dict[int, list[Label]] = {}
    for row in labels.rows:
        if row.source is Source.HUMAN:
            opinions.setdefault(row.pair, []).append(row)
    pair = sorted(opinions)
    severe, share, random = [], [], []
    for place in pair:
        said = opinions[place]
        last = [row.p_severe for row in said if row.adjudicated][-1:]
        of_each = {row.annotator or i: row.p_severe for i, row in enumerate(said)}
        opinion = last or [*of_each.values()]
        mean = math.fsum(opinion) / len(opinion)
        severe.append(mean > 0.5)
        share.append(mean)
        random.append(any(row.sampling is Sampling.RANDOM for row in said))
    return Settled(
        np.array(pair, np.int64), np.array(severe, np.bool_), np.array(share), np.array(random, np.bool_)
    )
