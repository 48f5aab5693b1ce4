"""Whether labels are fit to learn from and to promise on: what is found in them, and what stands in the way.

Pure: labels with their clusters and roles in, findings out. Promises that nothing is changed or dropped for a
finding: likely wrong labels are shown to people, and what blocks has to be mended in the data, or be accepted by
name, which is then recorded. Needs the `train` extra.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn import findings
from actors.learn.agreement import NEAR_CHANCE, Agreement, among_people
from actors.learn.findings import Judge, Leakage, Listed, Part, Repeats, Suspected
from actors.learn.judge import LEAST_OVERLAP
from actors.learn.labels import Labels, Source
from actors.learn.roles import SHARES, Role
from actors.learn.sample import Sample

LEAST_CLUSTERS = 2
"""Of each role: one cluster tells nothing of another."""
MOST_KNOWN = 0.1
"""Share of a role's pairs whose query or document an earlier role knows, above which its figures may be those of a
good memory. Below it they are reported: a catalogue's products come up for more than one query."""
NEEDS_BOTH = (Role.TRAIN, Role.DEV, Role.MAP, Role.TEST)
"""Roles that are of no use without severe pairs and others: no model, map or AUC follows from one kind."""


class Kind(enum.StrEnum):
    """What can stand in the way; names for `--accept`."""

    OVERLAP = "overlap"
    """A judge that cannot be held against people."""
    CHANCE = "chance"
    """People, or a judge and people, agree hardly more than by chance."""
    LEAKAGE = "leakage"
    """A role knows what another is judged by."""
    SINGLE_CLASS = "single_class"
    """A role has one kind of pairs, and needs both."""
    CLUSTERS = "clusters"
    """A role has fewer clusters than it needs."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What stands in the way."""

    kind: Kind
    said: str
    """What was found, with its numbers."""
    what_to_do: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"kind": self.kind.value, "said": self.said, "what_to_do": self.what_to_do}


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
    settled_severe: NDArray[np.bool_]
    """Of each settled pair, bool `[m]`."""
    by_role: Mapping[str, Part]
    by_segment: Mapping[str, Part]
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
            "by_role": {name: part.to_json() for name, part in self.by_role.items()},
            "by_segment": {name: part.to_json() for name, part in self.by_segment.items()},
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

    Takes time in proportion to the pairs, but for `clusters` of queries.

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
    group = findings.query_groups(sample)
    agreement, judges = among_people(labels), findings.judges(sample)
    leakage, repeats = findings.leakage(sample, group), findings.repeats(sample, group)
    segments, n_left_out = findings.by_segment(sample)
    names = {one.value: {row.annotator for row in labels.rows if row.source is one} for one in Source}
    by_level = findings.n_labels(labels)
    declared = any(pair.cluster is not None for pair in labels.pairs)
    notes = [
        *_about_people(agreement, repeats),
        *_about_levels(by_level),
        *_about_roles(leakage),
        *([f"{n_left_out} smaller segments are left out"] if n_left_out else []),
    ]
    return Audit(
        source=source,
        n_pairs=len(labels.pairs),
        n_settled=len(sample.settled.pair),
        labels_by_source=dict(Counter(row.source.value for row in labels.rows)),
        annotators={one: len(who) for one, who in names.items() if who},
        labels_by_level=by_level,
        pairs_per_cluster=np.sort(np.unique(sample.cluster, return_counts=True)[1])[::-1].astype(np.int64),
        clusters_declared=declared,
        agreement=agreement,
        judges=judges,
        conflicts=findings.conflicts(sample, agreement.conflicts),
        repeats=repeats,
        leakage=leakage,
        suspected=findings.suspected(sample, p_severe),
        settled_severe=sample.settled.severe,
        by_role=findings.by_role(sample),
        by_segment=segments,
        blocking=(
            *_overlap(judges),
            *_chance(agreement, judges),
            *_leaks(leakage),
            *_single_class(sample),
            *_clusters(sample, shares),
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


def _overlap(judges: Iterable[Judge]) -> Iterable[Problem]:
    for judge in judges:
        if judge.n_overlap < LEAST_OVERLAP:
            said = (
                f"judge {judge.name}: people have labelled {judge.n_overlap} of a random sample of its pairs"
            )
            lacking = LEAST_OVERLAP - judge.n_overlap
            to_do = f"let people label {lacking} more of the pairs that it labelled, drawn at random"
            yield Problem(Kind.OVERLAP, f"{said}, and {LEAST_OVERLAP} are needed", to_do)
        elif judge.n_severe in {0, judge.n_overlap}:
            said = (
                f"judge {judge.name}: people say the same of all {judge.n_overlap} pairs that both labelled"
            )
            yield Problem(Kind.OVERLAP, said, "let people label more of a random sample of what it labelled")


def _chance(agreement: Agreement, judges: Iterable[Judge]) -> Iterable[Problem]:
    if agreement.near_chance:
        said = f"people agree with an alpha of {agreement.alpha:.2f} on {agreement.n_pairs} pairs, 0 being chance"
        to_do = "say in the rubric what tells the levels apart, and have the pairs labelled anew by it"
        yield Problem(Kind.CHANCE, f"{said} and {NEAR_CHANCE:g} the least to learn from", to_do)
    for judge in judges:
        if judge.auc is not None and (judge.auc.low is None or judge.auc.low <= 0.5):
            said = f"judge {judge.name}: nothing shows that it ranks as people do better than by chance"
            to_do = "leave its labels out, or let people label more of a random sample of what it labelled"
            yield Problem(Kind.CHANCE, f"{said} (AUC {judge.auc} on {judge.n_overlap} pairs)", to_do)


def _leaks(leakage: Leakage) -> Iterable[Problem]:
    for role, share in leakage.known_queries.items():
        if share > MOST_KNOWN:
            said = f"{share:.0%} of the pairs of {role} have a query alike to one of a role that is used before it"
            to_do = (
                "give alike queries one cluster, or leave the cluster column out so that they are connected"
            )
            yield Problem(Kind.LEAKAGE, said, to_do)
    for role, share in leakage.known_documents.items():
        if share > MOST_KNOWN:
            said = (
                f"{share:.0%} of the pairs of {role} have a document that a role has which is used before it"
            )
            to_do = (
                "give queries with common documents one cluster; or accept it, where traffic knows no others"
            )
            yield Problem(Kind.LEAKAGE, said, to_do)


def _single_class(sample: Sample) -> Iterable[Problem]:
    for role in NEEDS_BOTH:
        severe = sample.people(role).severe
        if len(severe) and severe.min() == severe.max():
            kind = "severe" if severe[0] else "not severe"
            said = f"all {len(severe)} settled pairs of {role} are {kind}"
            yield Problem(Kind.SINGLE_CLASS, said, "label more clusters, or give the role a larger share")


def _clusters(sample: Sample, shares: Mapping[Role, float]) -> Iterable[Problem]:
    n = {role: sample.people(role).n_clusters for role in Role if shares.get(role, 0) > 0}
    if Role.TRAIN in n:  # judges' labels train as well
        n[Role.TRAIN] = len(np.unique(sample.cluster[sample.role == Role.TRAIN]))
    few = [f"{role} {count}" for role, count in n.items() if count < LEAST_CLUSTERS]
    if few:
        said = f"too few clusters with settled pairs of a probability sample: {', '.join(few)}"
        to_do = "let people label all or a uniform number of pairs of more clusters, drawn at random"
        yield Problem(Kind.CLUSTERS, f"{said}, and each role needs {LEAST_CLUSTERS}", to_do)


def _about_people(agreement: Agreement, repeats: Repeats) -> Iterable[str]:
    if not agreement.n_pairs:
        yield "no pair was labelled by two people: how far people agree is not known"
    if repeats.labels:
        yield (
            f"{repeats.labels} labels are of a pair that the same person or judge has labelled before, or of "
            "people without a name (labels.columns.annotator)"
        )


def _about_levels(by_level: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    unused = [level for level, counts in by_level.items() if not any(counts.values())]
    if unused:
        yield f"nobody used the levels {', '.join(unused)}"


def _about_roles(leakage: Leakage) -> Iterable[str]:
    for what, found in (("groups of alike queries", leakage.queries), ("documents", leakage.documents)):
        if found.n:
            yield f"{found.n} {what} are in several roles"
