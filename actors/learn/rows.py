"""From labels to what an encoder learns: one target and one weight for each pair of the role `train`.

Promises that people outrank judges, and judges rules: a pair takes its target from the best source that has
spoken of it. A judge's word enters as what people say where the judge says it, learned from pairs that both
drew at random in the role `train`; a judge that cannot be held against people is refused or left out, never
believed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.judge import JudgeMap, Overlap, learn_judge, level, overlaps
from actors.learn.labels import Source
from actors.learn.listing import one_line
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
    left_out: Mapping[str, str]
    """Judges whose word was taken for nothing, and why."""


def targets(sample: Sample, recipe: Recipe, *, leave_out: bool = False) -> Targets:
    """What to learn from.

    Args:
        sample: All labels.
        recipe: Has the weights of the sources.
        leave_out: Whether a judge that cannot be held against people is left out, instead of refused.

    Returns:
        The targets of the pairs of the role `train`, at least those that people have settled.

    Raises:
        DataRefused: A judge cannot be held against people, and must not be left out; or nothing can be learned
            from.
    """
    people = sample.people(Role.TRAIN)
    share_of = dict(zip(people.pair.tolist(), people.share_severe.tolist(), strict=True))
    found = {pair: (share, 1.0, Source.HUMAN) for pair, share in share_of.items()}
    trained = set(np.flatnonzero(sample.role == Role.TRAIN).tolist())
    rows = [row for row in sample.labels.rows if row.pair in trained]
    overlap_of = train_overlaps(sample)
    left_out = {
        name: one.lacking for name, one in overlap_of.items() if leave_out and one.lacking is not None
    }
    judges = {
        name: learn_judge(overlap, name=f"judge {one_line(name) or 'without a name'}")
        for name, overlap in overlap_of.items()
        if name not in left_out
    }
    said: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.source is Source.JUDGE and row.pair not in found and row.annotator in judges:
            p = judges[row.annotator].p_severe(level(row), sample.labels.pairs[row.pair].segment)
            said.setdefault(row.pair, {})[row.annotator] = p  # who spoke twice is taken at the last word
    found |= {
        pair: (float(np.mean([*p.values()])), recipe.judge_weight, Source.JUDGE) for pair, p in said.items()
    }
    ruled: dict[int, list[float]] = {}
    for row in rows:
        if row.source is Source.WEAK and row.pair not in found:
            ruled.setdefault(row.pair, []).append(row.p_severe)
    found |= {pair: (float(np.mean(p)), recipe.weak_weight, Source.WEAK) for pair, p in ruled.items()}
    pair = sorted(found)
    if not pair:
        problem = (
            "nothing of the role train can be learned from: it has no label of people or rules, and no judge that "
            "can be held against people; let people label a random sample of it"
        )
        raise DataRefused("labels", problem)
    return Targets(
        pair=np.array(pair, np.int64),
        target=np.array([found[i][0] for i in pair]),
        weight=np.array([found[i][1] for i in pair]),
        n_by_source={source: sum(has is source for _, _, has in found.values()) for source in Source},
        judges=judges,
        left_out=left_out,
    )


def train_overlaps(sample: Sample) -> dict[str, Overlap]:
    """What tells of each judge of the role `train` what its word is worth, by the judge's name.

    Args:
        sample: All labels.

    Returns:
        The pairs of the role that a random sample gave to people and to the judge; perhaps none, or too few.
    """
    people = sample.people(Role.TRAIN)
    share_of = dict(zip(people.pair.tolist(), people.share_severe.tolist(), strict=True))
    both = overlaps(sample.labels, sample.settled)
    trained = set(np.flatnonzero(sample.role == Role.TRAIN).tolist())
    rows = (row for row in sample.labels.rows if row.source is Source.JUDGE and row.pair in trained)
    found = {}
    for name in sorted({row.annotator for row in rows}):
        held = [row for row in both[name] if row.pair in share_of]
        found[name] = Overlap(
            [level(row) for row in held],
            [sample.labels.pairs[row.pair].segment for row in held],
            np.array([share_of[row.pair] for row in held], np.float64),
        )
    return found
