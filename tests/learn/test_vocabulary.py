from __future__ import annotations

import itertools

import pytest

from actors.learn.vocabulary import Facet, Split, Vocabulary, vocabulary

PAIRS = list(itertools.combinations(Split, 2))


def contents(words: Vocabulary) -> set[str]:
    return {value for domain in words.domains.values() for value in domain.contents}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_theme_product_brand_content_colour_or_pattern_is_in_two_splits(one, other):
    ours, theirs = vocabulary(one), vocabulary(other)
    for said in (
        lambda words: {family.theme for family in words.families},
        lambda words: {product for family in words.families for product in family.products},
        lambda words: set(words.brands),
        lambda words: set(words.colours),
        contents,
        lambda words: {pattern for patterns in words.patterns.values() for pattern in patterns},
    ):
        assert said(ours)
        assert not said(ours) & said(theirs)


@pytest.mark.parametrize("split", Split)
def test_every_domain_has_a_family_and_contents_where_its_rules_are_about_them(split):
    words = vocabulary(split)
    assert {family.domain for family in words.families} == set(words.domains)
    for domain in words.domains.values():
        assert Facet.CONTENTS not in domain.facets or len(domain.contents) >= 4


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_split_has_patterns_for_the_same_roles(one, other):
    assert set(vocabulary(one).patterns) == set(vocabulary(other).patterns)


def test_the_judging_split_has_at_least_thirty_families():
    assert len(vocabulary(Split.HELD_OUT).families) >= 30
