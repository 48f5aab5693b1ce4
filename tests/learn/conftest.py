"""What the tests of learning share: real pairs, scored by a model that did not see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def out_of_fold(shopping_pairs: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a prior on what the words say, in five folds by query; whether severe; the query."""
    import pyarrow.parquet as pq
    from sklearn.model_selection import GroupKFold

    from actors.learn.lexical_prior import fit_prior

    rows = pq.read_table(shopping_pairs).to_pylist()
    documents = [{"title": row["title"] or "", "brand": row["brand"] or ""} for row in rows]
    queries = [row["query"] for row in rows]
    severe = np.array([row["esci_label"] == "I" for row in rows])
    query = np.array([row["query_id"] for row in rows])
    logit = np.zeros(len(rows))
    for learn, judge in GroupKFold(5).split(rows, groups=query):
        prior = fit_prior([queries[i] for i in learn], [documents[i] for i in learn], severe[learn])
        logit[judge] = [prior.logit(queries[i], documents[i]) for i in judge]
    return logit, severe, query
