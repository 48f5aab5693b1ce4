"""Which queries are alike: the unit of splits, intervals and promises.

Promises that near-duplicate queries share a cluster, also through others between them, so that a model is never
judged on a query that it has as good as learned. Adding queries may join clusters and never parts one. Needs the
`train` extra.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import HashingVectorizer

from actors.lexical import normal

ALIKE = 0.8
"""Cosine of character n-grams from which on two queries are alike: "red kettles" and "kettle red" (0.84),
not "kettle for tea" and "kettle for coffee" (0.68)."""
_ROWS_AT_ONCE = 2_000


def clusters(queries: Sequence[str], *, alike: float = ALIKE) -> NDArray[np.int64]:
    """Connect near duplicates.

    Takes time with the square of the distinct queries: 20,000 of two to five words took 11 s on an AMD EPYC.

    Args:
        queries: Texts, n of them.
        alike: Cosine from which on two are near duplicates, above 0 and at most 1.

    Returns:
        A number for each, int64 `[n]`, the same for queries of one cluster; numbered by first appearance.
    """
    if not queries:
        return np.zeros(0, np.int64)
    distinct = list(dict.fromkeys(map(normal, queries)))
    place = {text: i for i, text in enumerate(distinct)}
    # Hashed counts, not weighted by rarity: whether two queries are alike must not depend on the others.
    grams = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), alternate_sign=False).transform(
        distinct
    )
    near = vstack(
        [
            _at_least(grams[start : start + _ROWS_AT_ONCE] @ grams.T, alike)
            for start in range(0, len(distinct), _ROWS_AT_ONCE)
        ]
    )
    _, component = connected_components(near, directed=False)
    numbers = component[[place[normal(query)] for query in queries]]
    first = {number: i for i, number in enumerate(dict.fromkeys(numbers.tolist()))}
    return np.array([first[number] for number in numbers.tolist()], np.int64)


def _at_least(cosine: csr_matrix, alike: float) -> csr_matrix:
    cosine.data[cosine.data < alike - 1e-6] = 0
    cosine.eliminate_zeros()
    return cosine
