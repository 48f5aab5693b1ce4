"""What labels hold more than once: the same opinion, the same pair, and the same text in several roles.

Promises to look at texts alone: whatever clusters are declared, alike queries are found. Nothing is dropped for
it. Needs the `train` extra.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.learn import duplicates
from actors.learn.clusters import clusters
from actors.learn.duplicates import Group
from actors.learn.listing import LISTED, Listed, Shown, one_line, show
from actors.learn.roles import Role
from actors.learn.sample import Sample
from actors.lexical import normal

MOST_QUERIES = 20_000
"""Distinct queries up to which declared clusters are searched for alike ones, which takes time with their square:
11 s. With more, only for equal ones."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """What is there more than once."""

    labels: int
    """Rows in which somebody says again what to think of a pair. Of each person the last counts; people without a
    name count as many."""
    same: Listed
    """Groups of pairs with equal texts, but for case and blanks."""
    near: Listed
    """Groups of pairs with alike queries and alike documents, equal ones among them."""
    contradicting: Listed
    """Those of the groups in which some pairs are severe and others not."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "repeated_labels": self.labels,
            "same_pairs": self.same.to_json(),
            "near_pairs": self.near.to_json(),
            "contradicting_pairs": self.contradicting.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Leakage:
    """What one role knows of another."""

    queries: Listed
    """Groups of alike queries in clusters of several roles."""
    documents: Listed
    """Documents that several roles have."""
    known_queries: Mapping[Role, float]
    """Share of a role's settled pairs with a query that is alike to one of a role that is used before it."""
    known_documents: Mapping[Role, float]
    """Share of a role's settled pairs with a document that a role has which is used before it."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "alike_queries_in_several_roles": self.queries.to_json(),
            "documents_in_several_roles": self.documents.to_json(),
            "share_of_pairs_with_a_query_known_before": {r.value: n for r, n in self.known_queries.items()},
            "share_of_pairs_with_a_document_known_before": {
                r.value: n for r, n in self.known_documents.items()
            },
        }


def group_queries(sample: Sample) -> tuple[NDArray[np.int64], bool]:
    """Find alike queries, whatever clusters are declared.

    Args:
        sample: All pairs.

    Returns:
        The same number for alike queries, int64 `[n]`; and whether they were searched for: with more than
        `MOST_QUERIES` declared ones it is the same number for equal queries only.
    """
    if all(pair.cluster is None for pair in sample.labels.pairs):
        return sample.cluster, True
    texts = [normal(text) for text in sample.query]
    if len(set(texts)) <= MOST_QUERIES:
        return clusters(texts), True
    return np.unique(np.array(texts, dtype=object), return_inverse=True)[1].astype(np.int64), False


def find_repeats(sample: Sample, query_group: NDArray[np.int64]) -> Repeats:
    """Find labels and pairs that are there more than once.

    Args:
        sample: All pairs.
        query_group: Of `group_queries`.

    Returns:
        What was found.
    """
    rows = sample.labels.rows
    same = duplicates.same_pairs(sample.query, sample.document)
    near = duplicates.near_pairs(query_group, sample.document)
    word = dict.fromkeys(range(len(sample.query)), "unsettled")
    for place, severe in zip(sample.settled.pair.tolist(), sample.settled.severe.tolist(), strict=True):
        word[place] = "severe" if severe else "not severe"
    contradicting = [group for group in near if {"severe", "not severe"} <= {word[place] for place in group}]
    return Repeats(
        labels=len(rows) - len({(row.pair, row.source, row.annotator) for row in rows}),
        same=_groups(sample, same, word),
        near=_groups(sample, near, word),
        contradicting=_groups(sample, contradicting, word),
    )


def find_leakage(sample: Sample, query_group: NDArray[np.int64]) -> Leakage:
    """Find what several roles share.

    Args:
        sample: All pairs.
        query_group: Of `group_queries`.

    Returns:
        What was found.
    """
    texts = [normal(text) for text in sample.document]
    return Leakage(
        queries=_across(sample, duplicates.same(query_group.tolist())),
        documents=_across(sample, duplicates.same(texts)),
        known_queries=_known(sample, query_group.tolist()),
        known_documents=_known(sample, texts),
    )


def _known(sample: Sample, values: Sequence[Hashable]) -> dict[Role, float]:
    """Share of each later role's settled pairs whose value a pair of an earlier role has."""
    order = {role: i for i, role in enumerate(Role)}
    first: dict[Hashable, int] = {}
    for value, role in zip(values, sample.role.tolist(), strict=True):
        first[value] = min(order[role], first.get(value, order[role]))
    found: dict[Role, float] = {}
    for role in list(Role)[1:]:
        pairs = sample.people(role).pair.tolist()
        if pairs:
            found[role] = sum(first[values[pair]] < order[role] for pair in pairs) / len(pairs)
    return found


def _groups(sample: Sample, groups: Sequence[Group], word: Mapping[int, str]) -> Listed:
    shown = []
    for group in groups[:LISTED]:
        counts = Counter(word[place] for place in group)
        said = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        shown.append(show(sample, group[0], f"{len(group)} pairs: {said}"))
    return Listed(len(groups), tuple(shown))


def _across(sample: Sample, groups: Iterable[Group]) -> Listed:
    """Groups whose pairs have several roles, with an example of each role."""
    n = 0
    shown: list[Shown] = []
    for group in groups:
        first: dict[Role, int] = {}
        for place in group:
            first.setdefault(sample.role[place], place)
        if len(first) > 1:
            n += 1
            if len(shown) < LISTED:
                said = "; ".join(
                    f"{role}: {one_line(sample.query[first[role]], 40)}" for role in Role if role in first
                )
                shown.append(show(sample, group[0], said))
    return Listed(n, tuple(shown))
