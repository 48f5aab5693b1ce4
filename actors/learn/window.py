"""A window of traffic: pairs that no score has chosen, read, named and scored.

Promises that one which is too small to set thresholds on is refused, and so is one whose alike queries could
not be found; and that equal windows have equal names. Needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.bundle import Bundle
from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.labels import Columns, Pair, Sampling
from actors.learn.reading import read_pairs
from actors.learn.roles import Role
from actors.learn.sample import Sample, cluster_pairs, compose
from actors.manifest import sha256
from actors.pairs import PairTemplate

FEWEST_PAIRS = 100
"""In a window of traffic: with fewer a review share of some percent is a pair or two."""
MOST_QUERIES = 50_000
"""Distinct ones: `clusters` takes time with their square, about a minute for these."""


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """A window of pairs that no score has chosen."""

    pairs: Sequence[Pair]
    """At least one; equal ones count."""
    source: str
    """Where they come from, for an error."""

    @classmethod
    def read(cls, path: Path, columns: Columns) -> Traffic:
        """Read a window of traffic, see `reading.read_pairs`.

        Args:
            path: Parquet or JSON lines.
            columns: Which column is what; that of clusters is used where it is there.

        Returns:
            The window.

        Raises:
            DataRefused: The file cannot be used; it holds too few pairs to set thresholds on, or too many queries
                to find those that are alike.
        """
        pairs = read_pairs(path, columns)
        if len(pairs) < FEWEST_PAIRS:
            problem = f"{len(pairs)} pairs; a window that thresholds are set on needs {FEWEST_PAIRS} or more"
            raise DataRefused(str(path), problem)
        n_queries = len({tuple(sorted(pair.query.items())) for pair in pairs})
        if pairs[0].cluster is None and n_queries > MOST_QUERIES:
            problem = (
                f"{n_queries:,} distinct queries, and those that are alike are sought among at most "
                f"{MOST_QUERIES:,}; draw a smaller window, or add a column of clusters"
            )
            raise DataRefused(str(path), problem)
        return cls(pairs, str(path))

    @classmethod
    def of(cls, sample: Sample, source: str) -> Traffic:
        """The pairs of the roles that decide nothing about the thresholds, but for those that a score chose.

        Args:
            sample: All labels, with their roles.
            source: Where they come from, for an error.

        Returns:
            The window; perhaps no pair.
        """
        drawn = {row.pair for row in sample.labels.rows if row.sampling is Sampling.RANDOM}
        rows = np.flatnonzero(np.isin(sample.role, [Role.DEV, Role.MAP])).tolist()
        return cls([sample.labels.pairs[i] for i in rows if i in drawn], source)

    def name(self, template: PairTemplate) -> str:
        """Digest of its texts: equal windows are equal on every machine, their logits only nearly so.

        Args:
            template: How the encoder reads a pair.

        Returns:
            `sha256:<hex>`.

        Raises:
            DataRefused: A pair cannot be read by the template.
        """
        return sha256(json.dumps(sorted(compose(self.pairs, template, self.source))).encode())


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A window of traffic, scored."""

    logit: NDArray[np.float64]
    """Float64 `[m]`, finite, at least one."""
    cluster: NDArray[np.int64]
    """Int64 `[m]`."""

    @classmethod
    def of(cls, bundle: Bundle, traffic: Traffic) -> Window:
        """Score a window.

        Args:
            bundle: Whose model scores.
            traffic: The pairs.

        Returns:
            Their logits and clusters.

        Raises:
            BundleError: The bundle must not be used.
            DataRefused: A pair cannot be scored, or only some pairs declare a cluster.
        """
        pairs, source = traffic.pairs, traffic.source
        queries, documents = [pair.query for pair in pairs], [pair.document for pair in pairs]
        texts = [query for query, _ in compose(pairs, bundle.manifest.template, source)]
        return cls(
            logit=apply.logits(bundle.path, queries, documents, source=source),
            cluster=cluster_pairs(pairs, texts, source),
        )
