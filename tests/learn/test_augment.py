import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.learn.augment import Example, exclusions, mismatches, without_fields

THINGS = ["kettle", "lamp", "hose", "case"]
QUERIES = [{"text": thing} for thing in THINGS for _ in range(5)]
DOCUMENTS = [{"title": f"{thing} {i}"} for thing in THINGS for i in range(5)]
CLUSTER = [i // 5 for i in range(20)]
TITLES = ["Red kettle with lid", "Blue kettle", "Steel lamp", "Wooden lamp with shade", "Hose"]


def never(query, document):
    return False


def test_a_mismatch_is_a_query_with_the_document_of_another_cluster():
    found = mismatches(QUERIES, DOCUMENTS, CLUSTER, n=50, near=never)

    assert len(found) == 50
    assert all(one.severe == 1.0 and one.query["text"] not in one.document["title"] for one in found)


def test_the_guard_turns_away_what_may_fit():
    found = mismatches(
        QUERIES, DOCUMENTS, CLUSTER, n=50, near=lambda _, document: "lamp" in document["title"]
    )

    assert found
    assert not any("lamp" in one.document["title"] for one in found)
    assert mismatches(QUERIES, DOCUMENTS, CLUSTER, n=50, near=lambda *_: True) == []


def test_a_single_cluster_has_no_mismatches():
    assert mismatches(QUERIES, DOCUMENTS, [0] * 20, n=5, near=never) == []


def test_equal_arguments_give_equal_pairs_and_another_seed_others():
    def made(seed):
        return mismatches(QUERIES, DOCUMENTS, CLUSTER, n=20, near=never, seed=seed), exclusions(
            TITLES, n=4, seed=seed
        )

    assert made(1) == made(1)
    assert made(1) != made(2)


@given(st.floats(0, 1), st.integers(0, 1000))
def test_a_document_keeps_some_field_and_invents_none(share, seed):
    example = Example({"text": "kettle"}, {"title": "a", "brand": "b", "colour": "c"}, 0.3, 2.0)
    found = without_fields(example, share=share, draw=random.Random(seed))

    assert found.document
    assert found.document.items() <= example.document.items()
    assert (found.query, found.severe, found.weight) == (example.query, 0.3, 2.0)


@pytest.mark.parametrize(("share", "n_kept"), [(0.0, 3), (1.0, 1)])
def test_fields_go_as_often_as_asked(share, n_kept):
    example = Example({}, {"title": "a", "brand": "b", "colour": "c"}, 0.0)

    assert len(without_fields(example, share=share, draw=random.Random(1)).document) == n_kept


def test_what_a_query_excludes_is_in_the_severe_document_and_not_in_its_twin():
    found = exclusions(TITLES, n=6)

    assert found
    for bad, good in zip(found[::2], found[1::2], strict=True):
        kind, word = bad.query["text"].split(" without ")
        assert (bad.severe, good.severe) == (1.0, 0.0)
        assert bad.query == good.query
        assert word in bad.document["title"].lower()
        assert word not in good.document["title"].lower()
        assert kind in good.document["title"].lower()


def test_titles_without_a_word_in_common_exclude_nothing():
    assert exclusions(["Red kettle", "Hose"], n=4) == []


def test_repeated_texts_are_one_mismatch():
    found = mismatches(
        [{"text": "a"}, {"text": "b"}] * 5, [{"title": "x"}] * 10, [0, 1] * 5, n=20, near=never
    )

    assert len(found) == len({(one.query["text"], one.document["title"]) for one in found}) == 2


def test_a_title_that_excludes_something_itself_teaches_no_exclusion():
    """It was made severe for the very thing that it does not hold."""
    assert exclusions(["USB cable without plug", "USB cable", "Sugar free cable"], n=4) == []


def test_a_twin_that_holds_the_excluded_word_in_another_form_is_no_twin():
    found = exclusions(["Shoe with straps", "Shoe strap red"], n=20)

    assert not any("strap" in one.query["text"] for one in found)


def test_an_odd_number_of_exclusions_is_not_exceeded():
    assert len(exclusions(TITLES, n=3)) == 2


def test_a_document_without_fields_stays_as_it_is():
    example = Example({"text": "kettle"}, {}, 0.0)

    assert without_fields(example, share=0.5, draw=random.Random(1)) == example
