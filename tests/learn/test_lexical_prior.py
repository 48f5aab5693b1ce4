import numpy as np
import pytest

from actors.errors import CalibrationFailed
from actors.learn.lexical_prior import fit_prior, out_of_fold
from actors.learn.metrics import auc

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


def test_out_of_fold_a_cluster_says_nothing_of_itself():
    """The cluster whose labels are turned round is scored by what the others say."""
    severe = np.arange(80) % 2 > 0
    cluster = np.repeat(np.arange(8), 10)
    documents = [{"title": "kettle" if i % 2 else "lamp"} for i in range(80)]
    turned = np.where(cluster == 0, ~severe, severe)
    logit = out_of_fold(QUERIES, documents, turned, cluster)

    assert auc(logit[cluster > 0], severe[cluster > 0])(np.ones(70)) == 1
    assert auc(logit[cluster == 0], turned[cluster == 0])(np.ones(10)) == 0


@pytest.mark.parametrize(
    ("cluster", "severe"), [(np.zeros(80), SEVERE), (np.arange(80) // 40, np.arange(80) < 40)]
)
def test_folds_that_cannot_be_learned_from_are_refused(cluster, severe):
    with pytest.raises(CalibrationFailed, match="needed"):
        out_of_fold(QUERIES, DOCUMENTS, severe, cluster)


def test_on_real_shopping_pairs_words_alone_tell_more_than_a_coin(out_of_fold):
    logit, severe, _ = out_of_fold

    assert auc(logit, severe)(np.ones(len(logit))) > 0.70
