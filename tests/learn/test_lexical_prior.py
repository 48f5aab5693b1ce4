from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from actors.errors import CalibrationFailed
from actors.learn.lexical_prior import fit_prior
from actors.learn.metrics import auc

ESCI = Path(__file__).resolve().parents[3] / "shared" / "data" / "esci_dev.parquet"
DOCUMENTS = [{"title": f"{thing} {i}"} for i in range(40) for thing in ("kettle", "lamp")]
QUERIES = ["kettle"] * 80
SEVERE = np.array([document["title"].startswith("lamp") for document in DOCUMENTS])


def test_it_tells_pairs_apart_by_their_words():
    prior = fit_prior(QUERIES, DOCUMENTS, SEVERE)

    assert prior.logit("hose", {"title": "hose 3"}) < prior.logit("hose", {"title": "ladder 3"})


def test_equal_pairs_give_an_equal_prior():
    one, other = (fit_prior(QUERIES, DOCUMENTS, SEVERE) for _ in range(2))

    assert one.to_json() == other.to_json()


def test_without_a_signal_it_says_little():
    prior = fit_prior(QUERIES, DOCUMENTS, np.arange(80) % 4 < 2)

    said = [prior.logit(*pair) for pair in zip(QUERIES, DOCUMENTS, strict=True)]
    assert np.ptp(said) < 0.2


def test_a_single_kind_is_refused():
    with pytest.raises(CalibrationFailed, match="both kinds"):
        fit_prior(QUERIES, DOCUMENTS, np.ones(80, bool))


def test_on_real_shopping_pairs_words_alone_tell_more_than_a_coin():
    if not ESCI.exists():
        pytest.skip(f"no {ESCI.name} in the folder of shared data")
    import pyarrow.parquet as pq

    rows = pq.read_table(ESCI).to_pylist()
    documents = [{"title": row["title"] or "", "brand": row["brand"] or ""} for row in rows]
    queries = [row["query"] for row in rows]
    severe = np.array([row["esci_label"] == "I" for row in rows])
    logit = np.zeros(len(rows))
    for learn, judge in GroupKFold(5).split(rows, groups=queries):
        prior = fit_prior([queries[i] for i in learn], [documents[i] for i in learn], severe[learn])
        logit[judge] = [prior.logit(queries[i], documents[i]) for i in judge]

    assert auc(logit, severe)(np.ones(len(rows))) > 0.70
