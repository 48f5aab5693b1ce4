"""What the tests of learning share: real pairs, scored by a model that did not see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.learn.label_files import ROW


@pytest.fixture(scope="session")
def out_of_fold(shopping_pairs: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a prior on what the words say, in five folds by query; whether severe; the query."""
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


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes a file of labels, each row `label_files.ROW` with some changes."""

    def write(*changes: dict[str, object], kind: str = "parquet") -> list[Path]:
        rows = [ROW | change for change in changes]
        path = tmp_path / f"labels.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return [path]

    return write
