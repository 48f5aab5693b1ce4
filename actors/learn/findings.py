"""What there is to find in labels, part by part: `audit` puts the parts together and says which of them block.

Promises bounded lists, each with the whole number beside it, and texts that fit on a line and hold no character
that could move a cursor. Nothing is decided here, and nothing is dropped. Needs the `train` extra.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.calibration import sigmoid
from actors.errors import CalibrationFailed
from actors.learn import duplicates
from actors.learn.agreement import judge_against_people, overlaps
from actors.learn.bootstrap import Estimate, interval
from actors.learn.clusters import clusters, normal
from actors.learn.duplicates import Group
from actors.learn.judge import LEAST_OVERLAP
from actors.learn.labels import Label, Labels, Source
from actors.learn.lexical_prior import out_of_fold
from actors.learn.metrics import auc, ratio
from actors.learn.roles import Role
from actors.learn.sample import Sample
from actors.learn.suspects import suspects

LISTED = 20
"""Examples that are shown of a kind."""
LINE = 80
"""Characters that are shown of a text."""
MOST_QUERIES = 20_000
"""Distinct queries up to which declared clusters are searched for alike ones, which takes time with their square:
11 s. With more, only for equal ones."""
MOST_PARTS = 50
"""Segments, and judges, that are looked at one by one: the largest."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair, as a person finds it again."""

    pair: int
    """Its place in `Labels.pairs`."""
    query: str
    """Cut to a line."""
    document: str
    """Cut to a line."""
    said: str
    """What is remarkable about it."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"pair": self.pair, "query": self.query, "document": self.document, "said": self.said}


@dataclass(frozen=True, slots=True)
class Listed:
    """How many there are of a kind, and the first of them."""

    n: int
    shown: tuple[Shown, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"n": self.n, "shown": [one.to_json() for one in self.shown]}


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
    """Share that is severe for people, by the judge's level."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "labels": self.n_labels,
            "overlap": self.n_overlap,
            "overlap_severe": self.n_severe,
            "auc": None if self.auc is None else self.auc.to_json(),
            "severe_by_level": {level: one.to_json() for level, one in self.by_level.items()},
        }


@dataclass(frozen=True, slots=True)
class Repeats:
    """What is there more than once."""

    labels: int
    """Rows in which somebody says again what to think of a pair; of each, the last counts."""
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


@dataclass(frozen=True, slots=True)
class Part:
    """A role or a segment."""

    n_pairs: int
    """That people have settled."""
    n_clusters: int
    severe: Estimate
    """Share of them that is severe."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"pairs": self.n_pairs, "clusters": self.n_clusters, "severe": self.severe.to_json()}


@dataclass(frozen=True, slots=True, eq=False)
class Suspected:
    """Labels that are likely wrong: for people to look at. No row is dropped for it, from any role."""

    basis: str
    """Whose probabilities they are, or why there are none."""
    found: Listed
    auc: Estimate | None = None
    """How well the probabilities tell the labels apart: near 0.5 they are no reason to suspect anything."""
    p_severe: NDArray[np.float64] | None = None
    """Of each settled pair, float64 `[m]`, for a plot."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "basis": self.basis,
            "auc": None if self.auc is None else self.auc.to_json(),
            **self.found.to_json(),
        }


def one_line(text: str, most: int = LINE) -> str:
    """The beginning of a text, without line breaks and other characters that are not to be seen."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    plain = " ".join(seen.split())
    return plain if len(plain) <= most and len(text) <= 4 * most else plain[: most - 1] + "…"


def judges(sample: Sample) -> tuple[Judge, ...]:
    """Every judge, the one with most labels first; the first `MOST_PARTS` are compared with people."""
    labels, settled = sample.labels, sample.settled
    n_labels = Counter(row.annotator for row in labels.rows if row.source is Source.JUDGE)
    severe = dict(zip(settled.pair.tolist(), settled.severe.tolist(), strict=True))
    both = overlaps(labels, settled)
    found = []
    for place, (name, n) in enumerate(n_labels.most_common()):
        pairs = {row.pair for row in both[name]}
        n_severe = sum(severe[pair] for pair in pairs)
        enough = place < MOST_PARTS and len(pairs) >= LEAST_OVERLAP and 0 < n_severe < len(pairs)
        found.append(
            Judge(
                name=one_line(name) or "the judge",
                n_labels=n,
                n_overlap=len(pairs),
                n_severe=n_severe,
                auc=_auc_of(both[name], severe, sample) if enough else None,
                by_level=judge_against_people(labels, sample.cluster, name) if place < MOST_PARTS else {},
            )
        )
    return tuple(found)


def conflicts(sample: Sample, places: Sequence[int]) -> Listed:
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
            told[row.pair].append(f"{row.annotator or 'somebody'}: {row.level}")
    return Listed(len(places), tuple(_shown(sample, place, "; ".join(said)) for place, said in told.items()))


def query_groups(sample: Sample) -> NDArray[np.int64]:
    """The same number for alike queries, whatever clusters are declared.

    Args:
        sample: All pairs.

    Returns:
        Int64 `[n]`. With more than `MOST_QUERIES` declared ones it is the same number for equal queries.
    """
    if all(pair.cluster is None for pair in sample.labels.pairs):
        return sample.cluster
    texts = [normal(text) for text in sample.query]
    if len(set(texts)) <= MOST_QUERIES:
        return clusters(texts)
    return np.unique(np.array(texts, dtype=object), return_inverse=True)[1].astype(np.int64)


def repeats(sample: Sample, query_group: NDArray[np.int64]) -> Repeats:
    """Find labels and pairs that are there more than once.

    Args:
        sample: All pairs.
        query_group: Of `query_groups`.

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


def leakage(sample: Sample, query_group: NDArray[np.int64]) -> Leakage:
    """Find what several roles share.

    Args:
        sample: All pairs.
        query_group: Of `query_groups`.

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


def by_role(sample: Sample) -> dict[str, Part]:
    """The roles on whose pairs people have spoken."""
    found = {role.value: sample.people(role) for role in Role}
    return {name: _part(one.severe, one.cluster) for name, one in found.items() if len(one)}


def by_segment(sample: Sample) -> tuple[dict[str, Part], int]:
    """The segments with most settled pairs, and how many there are besides."""
    settled = sample.settled
    names = [sample.labels.pairs[place].segment for place in settled.pair.tolist()]
    counts = Counter(name for name in names if name is not None)
    column, cluster = np.array(names, dtype=object), sample.cluster[settled.pair]
    found = {}
    for name, _ in counts.most_common(MOST_PARTS):
        rows = column == name
        found[one_line(name)] = _part(settled.severe[rows], cluster[rows])
    return found, max(0, len(counts) - MOST_PARTS)


def suspected(sample: Sample, p_severe: NDArray[np.float64] | None) -> Suspected:
    """Ask who doubts which label: the data's own probabilities, or what words say, out of fold by cluster.

    Args:
        sample: All pairs.
        p_severe: Probabilities for all pairs by a model that did not learn from their clusters, float64 `[n]`, NaN
            for a pair that has none; None asks the words.

    Returns:
        The labels that are likely wrong, the likeliest first.
    """
    settled = sample.settled
    rows = (
        np.arange(len(settled.pair))
        if p_severe is None
        else np.flatnonzero(~np.isnan(p_severe[settled.pair]))
    )
    pair, severe = settled.pair[rows], settled.severe[rows]
    cluster = sample.cluster[pair]
    if not 0 < severe.sum() < len(severe):
        return Suspected("nothing to compare: people's labels are of one kind", Listed(0))
    if p_severe is None:
        basis = "what the words say to a model of the other clusters (16 lexical features, out of fold)"
        documents = [sample.labels.pairs[place].document for place in pair.tolist()]
        queries = [sample.query[place] for place in pair.tolist()]
        try:
            p = sigmoid(out_of_fold(queries, documents, severe, cluster))
        except CalibrationFailed as error:
            return Suspected(f"nothing to compare: {error}", Listed(0))
    else:
        basis, p = "the probabilities in the data, which should be out of fold", p_severe[pair]
    found = suspects(severe, p)
    shown = tuple(
        _shown(
            sample,
            int(pair[one.row]),
            f"labelled {'severe' if one.severe else 'not severe'}, stated probability {one.p_severe:.2f}",
        )
        for one in found[:LISTED]
    )
    return Suspected(basis, Listed(len(found), shown), interval(auc(p, severe), cluster), p)


def _auc_of(rows: Sequence[Label], severe: Mapping[int, bool], sample: Sample) -> Estimate:
    """The judge's word in order: its probability, and among equal ones the rubric's gain."""
    gains = sample.labels.rubric.gains
    order = sorted(set(gains.values()), reverse=True)
    step = {level: order.index(gain) / (1_000 * len(order)) for level, gain in gains.items()}
    score = [row.p_severe + step.get(row.level or "", 0.0) for row in rows]
    pairs = [row.pair for row in rows]
    return interval(auc(score, [severe[pair] for pair in pairs]), sample.cluster[pairs])


def _part(severe: NDArray[np.bool_], cluster: NDArray[np.int64]) -> Part:
    # By cluster first: the draws are of clusters, and equal for equal clusters.
    _, number = np.unique(cluster, return_inverse=True)
    n_severe, n = np.bincount(number, severe), np.bincount(number)
    return Part(len(severe), len(n), interval(ratio(n_severe, n), np.arange(len(n))))


def _groups(sample: Sample, groups: Sequence[Group], word: Mapping[int, str]) -> Listed:
    shown = []
    for group in groups[:LISTED]:
        counts = Counter(word[place] for place in group)
        said = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        shown.append(_shown(sample, group[0], f"{len(group)} pairs: {said}"))
    return Listed(len(groups), tuple(shown))


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
                shown.append(_shown(sample, group[0], said))
    return Listed(n, tuple(shown))


def _shown(sample: Sample, place: int, said: str) -> Shown:
    texts = one_line(sample.query[place]), one_line(sample.document[place])
    return Shown(place, *texts, one_line(said, 2 * LINE))


def n_labels(labels: Labels) -> dict[str, dict[str, int]]:
    """How many labels there are of each level, by source; a level that nobody used is there too."""
    counts = Counter((row.level, row.source) for row in labels.rows)
    found = {level: {one.value: counts[level, one] for one in Source} for level in labels.rubric.levels}
    without = {one.value: counts[None, one] for one in Source}
    return found | ({"(probability only)": without} if any(without.values()) else {})
