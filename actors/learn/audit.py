"""Whether labels are fit to learn from and to promise on: what is found in them, and what stands in the way.

Pure: labels with their clusters and roles in, findings out. Promises that nothing is changed or dropped for a
finding: likely wrong labels are shown to people, and what blocks has to be mended in the data, or be accepted by
name, which is then recorded. Needs the `train` extra.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.agreement import Agreement, Judge, among_people, compare_judges, list_conflicts
from actors.learn.balance import Balance, balance_of_roles, balance_of_segments, count_levels
from actors.learn.labels import Labels, Source
from actors.learn.listing import Listed
from actors.learn.problems import Problem, find_problems
from actors.learn.repeats import MOST_QUERIES, Leakage, Repeats, find_leakage, find_repeats, group_queries
from actors.learn.roles import SHARES, Role
from actors.learn.sample import Sample
from actors.learn.suspects import Suspected, suspect


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """Everything that was found in labels."""

    source: str
    """Where they come from."""
    n_pairs: int
    n_settled: int
    """Pairs on which people have spoken."""
    labels_by_source: Mapping[str, int]
    annotators: Mapping[str, int]
    """How many there are, by source."""
    labels_by_level: Mapping[str, Mapping[str, int]]
    """By level, then by source."""
    severe_levels: tuple[str, ...]
    """Which of them are severe, in the rubric's order."""
    pairs_per_cluster: NDArray[np.int64]
    """One number for each cluster, int64, descending."""
    clusters_declared: bool
    """Otherwise they were found from the queries."""
    agreement: Agreement
    judges: tuple[Judge, ...]
    conflicts: Listed
    repeats: Repeats
    leakage: Leakage
    suspected: Suspected
    by_role: Mapping[str, Balance]
    by_segment: Mapping[str, Balance]
    blocking: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What to know beside the figures."""
    accepted: frozenset[str] = frozenset()
    """Kinds of problems that somebody lets pass."""

    @property
    def standing(self) -> tuple[Problem, ...]:
        """The problems that nobody lets pass."""
        return tuple(problem for problem in self.blocking if problem.kind not in self.accepted)

    def accepting(self, kinds: Iterable[str]) -> Audit:
        """The same, with kinds of problems let pass as well."""
        return replace(self, accepted=self.accepted | frozenset(map(str, kinds)))

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        sizes = self.pairs_per_cluster
        return {
            "source": self.source,
            "pairs": self.n_pairs,
            "pairs_settled_by_people": self.n_settled,
            "labels_by_source": dict(self.labels_by_source),
            "annotators_by_source": dict(self.annotators),
            "labels_by_level": {level: dict(counts) for level, counts in self.labels_by_level.items()},
            "severe_levels": list(self.severe_levels),
            "clusters": {
                "n": len(sizes),
                "declared": self.clusters_declared,
                "pairs_per_cluster": {
                    "least": int(sizes.min()),
                    "median": float(np.median(sizes)),
                    "mean": float(sizes.mean()),
                    "most": int(sizes.max()),
                },
            },
            "agreement": self.agreement.to_json(),
            "judges": [judge.to_json() for judge in self.judges],
            "conflicts": self.conflicts.to_json(),
            "duplicates": self.repeats.to_json(),
            "leakage": self.leakage.to_json(),
            "likely_wrong_labels": self.suspected.to_json(),
            "by_role": {name: one.to_json() for name, one in self.by_role.items()},
            "by_segment": {name: one.to_json() for name, one in self.by_segment.items()},
            "blocking": [one.to_json() | {"accepted": one.kind in self.accepted} for one in self.blocking],
            "accepted": sorted(self.accepted),
            "notes": list(self.notes),
        }


def audit(
    labels: Labels,
    sample: Sample,
    *,
    shares: Mapping[Role, float] = SHARES,
    p_severe: NDArray[np.float64] | None = None,
    source: str = "labels",
) -> Audit:
    """Look at labels from every side.

    Takes time in proportion to the labels, but for `clusters` of queries: 100,000 labels of 50,000 pairs with
    documents of 60 words took 20 s and 0.7 GB on an AMD EPYC, half of it for what the words say; 1,000 annotators
    and as many judges added 2 s.

    Args:
        labels: All labels.
        sample: The same, with clusters and roles.
        shares: Of the roles; one with a share of 0 needs no cluster.
        p_severe: Probabilities for all pairs by a model that did not learn from their clusters, float64 `[n]`, NaN
            for a pair that has none; None asks what the words say.
        source: Where the labels come from.

    Returns:
        What was found; nothing is accepted yet.
    """
    group, searched = group_queries(sample)
    agreement, judges = among_people(labels), compare_judges(sample)
    leakage, repeats = find_leakage(sample, group), find_repeats(sample, group)
    segments, n_left_out = balance_of_segments(sample)
    names = {one.value: {row.annotator for row in labels.rows if row.source is one} for one in Source}
    by_level = count_levels(labels)
    declared = any(pair.cluster is not None for pair in labels.pairs)
    notes = [
        *_about_people(agreement, repeats),
        *_about_levels(by_level),
        *_about_roles(leakage),
        *_about_limits(searched=searched, n_left_out=n_left_out),
    ]
    return Audit(
        source=source,
        n_pairs=len(labels.pairs),
        n_settled=len(sample.settled.pair),
        labels_by_source=dict(Counter(row.source.value for row in labels.rows)),
        annotators={one: len(who) for one, who in names.items() if who},
        labels_by_level=by_level,
        severe_levels=tuple(level for level in labels.rubric.levels if level in labels.rubric.severe),
        pairs_per_cluster=np.sort(np.unique(sample.cluster, return_counts=True)[1])[::-1].astype(np.int64),
        clusters_declared=declared,
        agreement=agreement,
        judges=judges,
        conflicts=list_conflicts(sample, agreement.conflicts),
        repeats=repeats,
        leakage=leakage,
        suspected=suspect(sample, p_severe),
        by_role=balance_of_roles(sample),
        by_segment=segments,
        blocking=find_problems(
            sample, agreement, judges, leakage, needed=[role for role in Role if shares.get(role, 0) > 0]
        ),
        notes=tuple(notes),
    )


def refuse_unless_accepted(audit: Audit, accepted: Collection[str] = ()) -> None:
    """Let nobody train past a blocking problem that was not accepted by name.

    Args:
        audit: Of the labels.
        accepted: Kinds of problems to let pass, besides those that the audit lets pass itself.

    Raises:
        DataRefused: A problem stands; one line names all kinds, and how to let them pass.
    """
    standing = audit.accepting(accepted).standing
    if standing:
        said = "; ".join(f"{one.kind}: {one.said} ({one.what_to_do})" for one in standing)
        kinds = " ".join(f"--accept {kind}" for kind in dict.fromkeys(one.kind for one in standing))
        raise DataRefused(
            audit.source, f"the labels are not fit to train on: {said}; or let it pass with {kinds}"
        )


def _about_people(agreement: Agreement, repeats: Repeats) -> Iterable[str]:
    if not agreement.n_pairs:
        yield "no pair was labelled by two people: how far people agree is not known"
    if agreement.n_alone:
        yield (
            f"{agreement.n_alone} pairs rest on the word of one person: a promise that is proven on such is one "
            "about that word (labels.columns.adjudicated marks what was settled)"
        )
    if repeats.labels:
        yield (
            f"{repeats.labels} labels are of a pair that the same person or judge has labelled before, or of "
            "people without a name (labels.columns.annotator)"
        )


def _about_levels(by_level: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    unused = [level for level, counts in by_level.items() if not any(counts.values())]
    if unused:
        yield f"levels that nobody used: {', '.join(unused)}"


def _about_roles(leakage: Leakage) -> Iterable[str]:
    for what, found in (("groups of alike queries", leakage.queries), ("documents", leakage.documents)):
        if found.n:
            yield f"{found.n} {what} are in several roles"


def _about_limits(*, searched: bool, n_left_out: int) -> Iterable[str]:
    if not searched:
        yield f"more than {MOST_QUERIES:,} queries: only equal ones were searched for in several roles"
    if n_left_out:
        yield f"{n_left_out} smaller segments are left out"
