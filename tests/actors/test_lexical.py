import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.lexical import NAMES, Lexicon, normal, words

DOCUMENTS = [
    {
        "title": "Steel kettle 2 litre",
        "brand": "Acme",
        "category": "Kitchen kettles",
        "details": "without lid",
    },
    {"title": "Red lamp for desks", "brand": "Lumo", "category": "Home lighting", "details": "with 44 leds"},
    {"title": "Red kettle", "brand": "Lumo", "details": "sugar free sweets"},
]
LEXICON = Lexicon.of(DOCUMENTS)

texts = st.text(alphabet="abc 12.'\u2019-é中\n", max_size=30) | st.sampled_from(
    ["without", "not a lamp", "for", ""]
)
documents = st.dictionaries(st.sampled_from(["title", "brand", "category", "details", "text"]), texts)


def said(query, document):
    return dict(zip(NAMES, LEXICON.features(query, document).tolist(), strict=True))


@given(texts, documents)
def test_any_pair_has_finite_features_and_shares_are_shares(query, document):
    features = LEXICON.features(query, document)

    assert np.isfinite(features).all()
    others = {"title_missing", "query_words"}
    shares = [value for name, value in zip(NAMES, features, strict=True) if name not in others]
    assert min(shares) >= -1e-9
    assert max(shares) <= 1 + 1e-9


@given(texts, documents)
def test_a_lexicon_that_was_stored_says_the_same(query, document):
    again = Lexicon.from_json(json.loads(json.dumps(LEXICON.to_json())))

    np.testing.assert_allclose(again.features(query, document), LEXICON.features(query, document), atol=1e-5)


def test_what_the_title_holds_is_covered_and_what_it_lacks_is_missing():
    kept, broken = said("steel kettle", DOCUMENTS[0]), said("steel lamp", DOCUMENTS[0])

    assert kept["title_coverage"] == 1
    assert kept["title_missing"] == 0
    assert 0 < broken["title_coverage"] < 1
    assert broken["title_missing"] > 0


def test_a_rare_word_weighs_more_than_a_frequent_one():
    assert (
        said("red steel", DOCUMENTS[0])["title_coverage"] > said("red steel", DOCUMENTS[1])["title_coverage"]
    )


def test_a_word_of_the_same_stem_counts_but_a_number_only_as_it_is():
    assert 0 < said("lamps", DOCUMENTS[1])["title_coverage"] < 1
    assert said("4400", {"title": "4401"})["title_coverage"] == 0


def test_numbers_that_no_field_holds_are_missing():
    assert said("lamp 44", DOCUMENTS[1])["numbers_missing"] == 0
    assert said("lamp 45", DOCUMENTS[1])["numbers_missing"] == 1


def test_a_brand_that_the_query_names_is_found():
    assert said("lumo lamp", DOCUMENTS[1])["brand_in_query"] == 1
    assert said("acme lamp", DOCUMENTS[1])["brand_in_query"] == 0


@pytest.mark.parametrize(
    ("document", "excluded", "confirmed"),
    [
        ({"title": "kettle with lid"}, 1, 0),
        ({"title": "kettle without a lid"}, 0, 1),
        ({"title": "kettle, lid free"}, 0, 1),
        ({"title": "kettle", "details": "no lid"}, 0, 1),
        ({"title": "kettle"}, 0, 0),
    ],
)
def test_what_a_query_excludes_counts_against_a_title_that_holds_it_undenied(document, excluded, confirmed):
    features = said("kettle without lid", document)

    assert features["negated"] == 1
    assert features["excluded_in_title"] == excluded
    assert features["exclusion_confirmed"] == confirmed


def test_the_kind_of_thing_stands_before_the_first_glue_word():
    case = said("case for phone", {"title": "case"})
    phone = said("case for phone", {"title": "phone"})

    assert (case["kind_in_head"], phone["kind_in_head"]) == (1, 0)
    assert (case["last_word_in_head"], phone["last_word_in_head"]) == (0, 1)


def test_a_flat_document_is_all_title():
    assert said("red kettle", {"text": "red kettle"})["title_coverage"] == 1


def test_a_query_without_a_word_says_nothing():
    assert not LEXICON.features("?!", DOCUMENTS[0]).any()


def test_words_are_lower_case_without_a_possessive_ending():
    assert words("Men\u2019s 1.5 Boots, L'Oréal") == ["men", "1.5", "boots", "l'oréal"]


def test_a_rarity_beyond_its_bounds_is_refused():
    with pytest.raises(ValueError, match="rarity"):
        Lexicon.from_json(LEXICON.to_json() | {"rarity": {"kettle": 2.0}})


def test_case_blanks_and_the_spelling_of_accents_mean_nothing():
    assert normal(" Cafe\u0301  AU Lait ") == normal("caf\u00e9 au lait")
