"""What stands in the way of learning from labels, and of promising anything on them.

Promises that each problem has a kind by which it can be accepted, its numbers, and what to do about it. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.learn.agreement import NEAR_CHANCE, Agreement, Judge
from actors.learn.judge import LEAST_OVERLAP
from actors.learn.repeats import Leakage
from actors.learn.roles import Role
from actors.learn.sample import Sample

MOST_NAMED = 5
"""Judges that are named one by one."""
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


def find_problems(
    sample: Sample,
    agreement: Agreement,
    judges: Iterable[Judge],
    leakage: Leakage,
    *,
    needed: Collection[Role],
) -> tuple[Problem, ...]:
    """Everything that stands in the way.

    Args:
        sample: All pairs.
        agreement: Of people.
        judges: Held against people.
        leakage: What roles share.
        needed: Roles that have to have clusters.

    Returns:
        The problems; perhaps none.
    """
    return (
        *_overlap(judges),
        *_chance(agreement, judges),
        *_leaks(leakage),
        *_single_class(sample),
        *_clusters(sample, needed),
    )


def _overlap(judges: Iterable[Judge]) -> Iterable[Problem]:
    """One for each judge, but for the last of very many."""
    found = [*_overlap_of_each(judges)]
    yield from found[:MOST_NAMED]
    if found[MOST_NAMED:]:
        said = f"{len(found) - MOST_NAMED} further judges have no such overlap with people either"
        yield Problem(
            Kind.OVERLAP, said, "name in labels.columns.annotator the model that judged, not each call"
        )


def _overlap_of_each(judges: Iterable[Judge]) -> Iterable[Problem]:
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
        elif judge.lacking is not None:
            said = f"judge {judge.name}, of which training learns from the role train alone: {judge.lacking} there"
            to_do = "let people label more of a random sample of it, or give train a larger share"
            yield Problem(Kind.OVERLAP, said, to_do)


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


def _clusters(sample: Sample, needed: Collection[Role]) -> Iterable[Problem]:
    n = {role: sample.people(role).n_clusters for role in needed}
    if Role.TRAIN in n:  # judges' labels train as well
        n[Role.TRAIN] = len(np.unique(sample.cluster[sample.role == Role.TRAIN]))
    few = [f"{role} {count}" for role, count in n.items() if count < LEAST_CLUSTERS]
    if few:
        said = f"too few clusters with settled pairs of a probability sample: {', '.join(few)}"
        to_do = "let people label all or a uniform number of pairs of more clusters, drawn at random"
        yield Problem(Kind.CLUSTERS, f"{said}, and each role needs {LEAST_CLUSTERS}", to_do)
