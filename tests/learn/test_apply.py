import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn import apply
from actors.scorer import Scorer, Scores

QUERIES = [{"text": f"kettle {i}"} for i in range(7)]
DOCUMENTS = [{"title": f"red kettle of {i} litres", "brand": "Acme"} for i in range(7)]


def said(bundle, **changes):
    texts = {"queries": QUERIES, "documents": DOCUMENTS} | changes
    return apply.logits(bundle.path, texts["queries"], texts["documents"], source="labels.parquet")


def test_each_pair_has_the_logit_that_it_has_alone(base_bundle, monkeypatch, caplog):
    together = said(base_bundle)
    monkeypatch.setattr(apply, "_AT_ONCE", 2)
    caplog.set_level("INFO")

    assert together.dtype == np.float64
    assert len(np.unique(together)) == 7
    assert said(base_bundle) == pytest.approx(together, abs=1e-4)
    assert "scored 7 of 7 pairs of labels.parquet" in caplog.messages
    assert said(base_bundle, queries=[], documents=[]).tolist() == []


@pytest.mark.parametrize("empty", [{"other": "red"}, {"title": " "}])
def test_a_pair_without_a_text_is_named(base_bundle, monkeypatch, empty):
    monkeypatch.setattr(apply, "_AT_ONCE", 2)
    with pytest.raises(DataRefused, match=r"labels.parquet, pair 5: no field of the document"):
        said(base_bundle, documents=[*DOCUMENTS[:4], empty, *DOCUMENTS[5:]])


def test_a_logit_that_is_not_finite_is_refused(base_bundle, monkeypatch):
    def broken(self, tokens):
        logit = np.zeros(len(tokens), np.float32)
        logit[2] = np.nan
        return Scores(logit, logit, np.zeros(len(tokens), np.int8))

    monkeypatch.setattr(Scorer, "score", broken)
    with pytest.raises(DataRefused, match=r"pair 3: the bundle's logit is nan"):
        said(base_bundle)
