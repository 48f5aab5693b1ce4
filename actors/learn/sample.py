"""Labels with the cluster and the role of every pair: what all of learning is given.

Promises that a pair has one role, the same in every bundle that follows from known roles; that a cluster on which
no person has spoken only trains, as nothing can rest on it; and each text as the encoder reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.clusters import clusters
from actors.learn.labels import Labels, Pair, Settled
from actors.learn.roles import SHARES, Role, Roles, assign, digest, read_roles
from actors.pairs import MAX_CHARS, Fields, PairTemplate, TextProblem

_SHOWN = 60
"""Characters of a field in an error."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Pairs that people have settled: columns of equal length."""

    pair: NDArray[np.int64]
    """Places in `Labels.pairs`, int64 `[m]`."""
    queries: Sequence[Fields]
    documents: Sequence[Fields]
    query: NDArray[Any]
    """Composed query texts, `[m]`."""
    severe: NDArray[np.bool_]
    """What settles the pair, bool `[m]`."""
    share_severe: NDArray[np.float64]
    """Share of the annotators that say severe, float64 `[m]`."""
    random: NDArray[np.bool_]
    """Whether the pair is of a probability sample, bool `[m]`."""
    cluster: NDArray[np.int64]
    """Int64 `[m]`."""
    segment: NDArray[Any] | None
    """Names of segments, `[m]`; None where no pair has one."""

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def n_clusters(self) -> int:
        """Clusters that they are of."""
        return len(np.unique(self.cluster))

    def where(self, rows: NDArray[np.bool_]) -> People:
        """The rows that are true."""
        places = np.flatnonzero(rows).tolist()
        return People(
            pair=self.pair[rows],
            queries=[self.queries[i] for i in places],
            documents=[self.documents[i] for i in places],
            query=self.query[rows],
            severe=self.severe[rows],
            share_severe=self.share_severe[rows],
            random=self.random[rows],
            cluster=self.cluster[rows],
            segment=None if self.segment is None else self.segment[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """All pairs of the labels, n of them, with what they are used for."""

    labels: Labels
    query: tuple[str, ...]
    """Composed query text of each pair."""
    document: tuple[str, ...]
    """Composed document text of each pair."""
    cluster: NDArray[np.int64]
    """Int64 `[n]`."""
    role: NDArray[Any]
    """`Role` of each pair, `[n]`."""
    roles: Roles
    """What a bundle records: of these queries, and of those that were known before."""
    settled: Settled

    @classmethod
    def of(
        cls,
        labels: Labels,
        template: PairTemplate,
        *,
        shares: Mapping[Role, float] = SHARES,
        seed: int = 0,
        known: Roles | None = None,
        source: str = "labels",
    ) -> Sample:
        """Find the clusters, and give each a role.

        Args:
            labels: As they were read.
            template: How the encoder reads a pair.
            shares: Expected share of the clusters for each role.
            seed: Another seed, another draw.
            known: Roles of an earlier bundle, which stay.
            source: Where the labels come from, for an error.

        Returns:
            The sample.

        Raises:
            DataRefused: A pair cannot be read by the template, only some pairs declare a cluster, no person has
                labelled a pair, or the clusters do not suffice for all roles.
        """
        texts = compose(labels.pairs, template, source)
        query = [text for text, _ in texts]
        cluster = cluster_pairs(labels.pairs, query, source)
        settled = labels.settled
        resting = [role for role in Role if role is not Role.TRAIN and shares.get(role)]
        if resting and not len(settled.pair):
            problem = (
                f"no person has labelled any of them, and labels of judges and rules only train: "
                f"{len(np.unique(cluster))} clusters of queries leave none for {', '.join(resting)}; let people "
                "label all or a uniform number of pairs of clusters that are drawn at random"
            )
            raise DataRefused(source, problem)
        # Drawn at random, for its people: a cluster without them can carry nothing but training.
        random = np.isin(cluster, cluster[settled.pair])
        random[settled.pair] &= settled.random
        roles = assign(query, cluster, random, shares=shares, seed=seed, source=source)
        if known is not None:
            before = known.inherit(query, cluster)
            kept = {digest(text): role for text, role in zip(query, before, strict=True) if role is not None}
            roles = Roles({**roles.by_query, **known.by_query, **kept})
        role = np.array([roles.by_query[digest(text)] for text in query], dtype=object)
        document = tuple(text for _, text in texts)
        return cls(labels, tuple(query), document, cluster, role, roles, settled)

    def roles_in(self, folder: Path) -> list[Role | None]:
        """What each pair is to a bundle, perhaps another one than these roles are for.

        Args:
            folder: Of the bundle, or of an encoder, which is none.

        Returns:
            The role of its cluster, for each pair; None where the bundle knows none of the cluster's queries, or
            records no roles.

        Raises:
            BundleProblem: The roles in it cannot be read.
        """
        return (read_roles(folder) or Roles({})).inherit(self.query, self.cluster)

    def people(self, *roles: Role) -> People:
        """The pairs of some roles that people have settled.

        Beyond training only those of a probability sample: nothing may rest on pairs that some score chose.

        Args:
            *roles: Whose pairs; none means those of every role.

        Returns:
            Their columns; perhaps no row.
        """
        settled = self.settled
        of_pair = self.role[settled.pair]
        rows = np.isin(of_pair, [str(role) for role in roles or tuple(Role)])
        rows &= settled.random | (of_pair == Role.TRAIN)
        pair = settled.pair[rows]
        pairs = [self.labels.pairs[i] for i in pair.tolist()]
        segments = [one.segment for one in pairs]
        return People(
            pair=pair,
            queries=[one.query for one in pairs],
            documents=[one.document for one in pairs],
            query=np.array([self.query[i] for i in pair.tolist()], dtype=object),
            severe=settled.severe[rows],
            share_severe=settled.share_severe[rows],
            random=settled.random[rows],
            cluster=self.cluster[pair],
            segment=np.array([name or "" for name in segments], dtype=object) if any(segments) else None,
        )


def compose(pairs: Sequence[Pair], template: PairTemplate, source: str) -> list[tuple[str, str]]:
    """The two texts of each pair, as the encoder reads them.

    Args:
        pairs: From a file.
        template: The bundle's.
        source: The file, for an error.

    Returns:
        Query text and document text of each.

    Raises:
        DataRefused: A pair cannot be read by the template.
    """
    found = []
    for pair in pairs:
        composed = template.compose(pair.query, pair.document, max_chars=MAX_CHARS)
        if isinstance(composed, TextProblem):
            shown = f"query {_shown(pair.query)}, document {_shown(pair.document)}"
            raise DataRefused(source, f"a pair cannot be read by the template: {composed} ({shown})")
        found.append(composed)
    return found


def _shown(fields: Fields) -> str:
    """Enough of them to find the row."""
    return str(
        {name: text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..." for name, text in fields.items()}
    )


def cluster_pairs(pairs: Sequence[Pair], query: Sequence[str], source: str) -> NDArray[np.int64]:
    """The clusters that pairs declare, or else those of near-duplicate queries.

    Args:
        pairs: From a file, n of them.
        query: Their composed query texts.
        source: The file, for an error.

    Returns:
        A number for each pair, int64 `[n]`.

    Raises:
        DataRefused: Only some pairs declare a cluster.
    """
    declared = [pair.cluster for pair in pairs]
    lacking = sum(name is None for name in declared)
    if lacking == len(declared):
        return clusters(query)
    if lacking:
        raise DataRefused(
            source, f"{lacking} of {len(declared)} pairs have no cluster; give all of them one, or none"
        )
    number = {name: i for i, name in enumerate(dict.fromkeys(declared))}
    found = np.array([number[name] for name in declared], np.int64)
    return _joined(query, found)


def _joined(query: Sequence[str], cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Declared clusters, joined where they hold the same query: a query has one role."""
    first: dict[str, int] = {}
    parent = {number: number for number in cluster.tolist()}

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    for text, number in zip(query, cluster.tolist(), strict=True):
        one, other = root(first.setdefault(digest(text), number)), root(number)
        parent[max(one, other)] = min(one, other)
    return np.array([root(number) for number in cluster.tolist()], np.int64)
