from __future__ import annotations

import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.learn.duplicates import ALIKE, near_pairs, same, same_pairs
from actors.lexical import words

TEXT = "steel kettle with a long spout for tea and coffee in the kitchen or on the road"


def shared(one, other):
    a, b = set(words(one)), set(words(other))
    return len(a & b) / len(a | b)


def changed(n):
    """The text with so many of its words replaced."""
    return " ".join([f"other{i}" for i in range(n)] + TEXT.split()[n:])


def test_equal_pairs_are_found_but_for_case_and_blanks():
    queries = ["Red kettle", "red  KETTLE ", "lamp", "red kettle"]
    documents = ["Steel", "steel", "Steel", "Steel kettle"]

    assert same_pairs(queries, documents) == [(0, 1)]


def test_equal_values_are_grouped_in_the_order_of_their_first():
    assert same(["b", "a", "b", "c", "a", "b"]) == [(0, 2, 5), (1, 4)]


def test_documents_with_few_other_words_are_alike():
    found = near_pairs([0] * 4, [TEXT, TEXT.upper() + "!", changed(1), "a lamp"])

    assert found == [(0, 1, 2)]


def test_alike_documents_of_other_queries_are_not_alike_pairs():
    assert near_pairs([0, 1, 0, 1], [TEXT, TEXT, "a lamp", changed(1)]) == [(1, 3)]


def test_what_is_alike_through_others_is_one_group():
    texts = [changed(n) for n in range(6)]
    assert shared(texts[0], texts[5]) < ALIKE

    assert near_pairs([7] * 6, texts) == [(0, 1, 2, 3, 4, 5)]


@pytest.mark.parametrize("documents", [[], ["", "!!!", "?"], ["one"]])
def test_texts_without_a_word_are_alike_to_none(documents):
    assert near_pairs([0] * len(documents), documents) == []


def test_nearly_all_that_are_alike_are_found_and_nothing_else():
    rng = np.random.default_rng(1)
    known = [f"word{i}" for i in range(500)]
    texts, truth = [], []
    for _ in range(400):
        base = rng.choice(known, 40, replace=False).tolist()
        n_other = int(rng.integers(0, 12))
        texts += [" ".join(base), " ".join([*base[n_other:], *(f"new{i}" for i in range(n_other))])]
        truth.append(shared(*texts[-2:]) >= ALIKE)
    found = near_pairs(np.arange(800) // 2, texts)

    expected = {(2 * i, 2 * i + 1) for i in np.flatnonzero(truth).tolist()}
    assert set(found) <= expected
    assert len(found) >= 0.97 * len(expected) > 100


def test_the_same_words_in_thousands_of_pairs_take_a_moment():
    """Each with each would be 200 million comparisons."""
    texts = [f"{TEXT} {i % 7}" for i in range(20_000)]
    start = time.process_time()
    found = near_pairs(np.zeros(20_000), texts)

    assert len(found) == 1
    assert len(found[0]) == 20_000
    assert time.process_time() - start < 100


def test_real_titles_hold_near_duplicates(shopping_pairs):
    rows = pq.read_table(shopping_pairs, columns=["query_id", "title"]).to_pylist()
    titles = [row["title"] or "" for row in rows]
    found = near_pairs([row["query_id"] for row in rows], titles)

    assert 50 < len(found) < 1000
    assert all(len({rows[place]["query_id"] for place in group}) == 1 for group in found)
    assert all(shared(titles[group[0]], titles[group[1]]) > 0.5 for group in found)
