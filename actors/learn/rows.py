"""From labels to what an encoder learns: one target and one weight for each pair of the role `train`.

Promises that people outrank judges, and judges rules: a pair takes its target from the best source that has
spoken of it. A judge's word enters as what people say where the judge says it, learned from pairs that both
drew at random in the role `train`; a judge that cannot be held against people is refused, not believed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.learn.judge import JudgeMap, Overlap, learn_judge, level, overlaps
from actors.learn.labels import Label, Source
from actors.learn.recipe import Recipe
from actors.learn.roles import Role
from actors.learn.sample import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Pairs to learn from: columns of equal length."""

    pair: NDArray[np.int64]
    """Places in `Labels.pairs`, int64 `[m]`, ascending."""
    target: NDArray[np.float64]
    """Probability of a severe violation, float64 `[m]`."""
    weight: NDArray[np.float64]
    """How much the pair counts, float64 `[m]`, above 0."""
    n_by_source: Mapping[Source, int]
    """Pairs that took their target from each source."""
    judges: Mapping[str, JudgeMap]
    """What the word of each judge was taken for."""


def targets(sample: Sample, recipe: Recipe) -> Targets:
    """What to learn from.

    Args:
        sample: All labels.
        recipe: Has the weights of the sources.

    Returns:
        The targets of the pairs of the role `train`, at least those that people have settled.

    Raises:
        DataRefused: A judge labelled pairs, and too few of them have labels of people too.
    """
    people = sample.people(Role.TRAIN)
    share_of = dict(zip(people.pair.tolist(), people.share_severe.tolist(), strict=True))
    found = {pair: (share, 1.0, Source.HUMAN) for pair, share in share_of.items()}
    trained = set(np.flatnonzero(sample.role == Role.TRAIN).tolist())
    rows = [row for row in sample.labels.rows if row.pair in trained]
    judges = _judges(sample, rows, share_of)
    said: dict[int, list[float]] = {}
    for row in rows:
        if row.source is Source.JUDGE and row.pair not in found:
            p = judges[row.annotator].p_severe(level(row), sample.labels.pairs[row.pair].segment)
            said.setdefault(row.pair, []).append(p)
    found |= {pair: (float(np.mean(p)), recipe.judge_weight, Source.JUDGE) for pair, p in said.items()}
    ruled: dict[int, list[float]] = {}
    for row in rows:
        if row.source is Source.WEAK and row.pair not in found:
            ruled.setdefault(row.pair, []).append(row.p_severe)
    found |= {pair: (float(np.mean(p)), recipe.weak_weight, Source.WEAK) for pair, p in ruled.items()}
    pair = sorted(found)
    return Targets(
        pair=np.array(pair, np.int64),
        target=np.array([found[i][0] for i in pair]),
        weight=np.array([found[i][1] for i in pair]),
        n_by_source={source: sum(has is source for _, _, has in found.values()) for source in Source},
        judges=judges,
    )


def _judges(sample: Sample, rows: Sequence[Label], share_of: Mapping[int, float]) -> dict[str, JudgeMap]:
    """The map of each judge of some rows, from pairs that a random sample gave to people and to it."""
    both = overlaps(sample.labels, sample.settled)
    maps = {}
    for name in sorted({row.annotator for row in rows if row.source is Source.JUDGE}):
        trained = [row for row in both[name] if row.pair in share_of]
        overlap = Overlap(
            [level(row) for row in trained],
            [sample.labels.pairs[row.pair].segment for row in trained],
            np.array([share_of[row.pair] for row in trained], np.float64),
        )
        maps[name] = learn_judge(overlap, name=f"judge {name or 'without a name'}")
    return maps
