"""Pairs that nobody labelled, made from texts at hand: a teacher scores them, so that an encoder can imitate it.

Promises pairs from the texts that were given and from no others, the same for the same seed. Most are hard: a
query with documents that are near it, because far ones teach nothing after the first hundred. What is severe
among them is for the teacher to say. Needs the `train` extra.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from actors.learn.features import Encoder, whole
from actors.lexical import Lexicon, words
from actors.pairs import FLAT_FIELD, Fields

Couple = tuple[Fields, Fields]
"""A query's fields and a document's."""

_BANDS = ((80, 0.5), (600, 0.3), (None, 0.2))
"""Of the documents from the nearest on: up to which place, and the share of the pairs that is drawn there."""
_SPAN_WORDS = (2, 4)
_EARLY_WORDS = 12
"""Words at the beginning of a title that a query is made from: what comes later is seldom asked for."""


def crossed(
    queries: Mapping[str, Fields], documents: Sequence[Fields], encoder: Encoder, *, n: int, seed: int = 0
) -> list[Couple]:
    """Queries with documents near and far.

    Args:
        queries: Fields by composed text.
        documents: Fields; equal ones count once.
        encoder: Tells what is near.
        n: How many pairs to make, about evenly over the queries.
        seed: Names the draw.

    Returns:
        At most n pairs, each once.
    """
    by_text = {whole(document): document for document in documents}
    if not n or not queries or not by_text:
        return []
    texts = list(by_text)
    near = encoder.vectors(list(queries)) @ encoder.vectors(texts).T
    draw = np.random.default_rng([seed, 1])
    per_query = -(-n // len(queries))
    found = [
        (query, by_text[texts[place]])
        for query, cosine in zip(queries.values(), near, strict=True)
        for place in _spread(np.argsort(-cosine, kind="stable"), per_query, draw)
    ]
    return [found[i] for i in sorted(draw.permutation(len(found))[:n].tolist())]


def pseudo_queries(
    documents: Sequence[Fields],
    encoder: Encoder,
    *,
    n: int,
    lexicon: Lexicon,
    field: str = FLAT_FIELD,
    seed: int = 0,
) -> list[Couple]:
    """Queries made from a document's words, each with that document and with two that are near.

    Args:
        documents: Fields; equal ones count once.
        encoder: Tells what is near.
        n: How many pairs to make.
        lexicon: Which fields are title, brand and category, and which words have a role.
        field: Of the query.
        seed: Names the draw.

    Returns:
        At most n pairs.
    """
    by_text = {whole(document): document for document in documents}
    texts = list(by_text)
    draw = random.Random(f"pseudo-queries/{seed}")
    made: dict[str, str] = {}
    for _ in range(4 * n if texts else 0):
        if 3 * len(made) >= n:
            break
        text = draw.choice(texts)
        query = _asked(by_text[text], lexicon, draw)
        if query:
            made.setdefault(query, text)
    if not made:
        return []
    near = encoder.vectors(list(made)) @ encoder.vectors(texts).T
    found: list[Couple] = []
    for (query, own), cosine in zip(made.items(), near, strict=True):
        nearest = [texts[i] for i in np.argsort(-cosine, kind="stable")[:300].tolist() if texts[i] != own]
        others = [draw.choice(part) for part in (nearest[:30], nearest[30:]) if part]
        found += [({field: query}, by_text[text]) for text in (own, *others)]
    return found[:n]


def _spread(ranked: NDArray[np.int64], n: int, draw: np.random.Generator) -> list[int]:
    """Places out of each band; what a small catalogue's bands lack comes from anywhere."""
    chosen: list[int] = []
    start = 0
    for end, share in _BANDS:
        band = ranked[start:end]
        chosen += draw.permutation(band)[: round(share * n)].tolist()
        start = len(ranked) if end is None else min(end, len(ranked))
    rest = draw.permutation(np.setdiff1d(ranked, chosen)).tolist()
    return [*chosen, *rest][:n]


def _asked(document: Fields, lexicon: Lexicon, draw: random.Random) -> str:
    """Words of a title, as people would ask; with its brand, its kind, or what it shall not have."""
    fields = lexicon.fields
    title = words(document.get(fields.title) or document.get(FLAT_FIELD, ""))[:_EARLY_WORDS]
    if len(title) < _SPAN_WORDS[1]:
        return ""
    length = draw.randint(*_SPAN_WORDS)
    start = draw.randrange(len(title) - length + 1)
    span = " ".join(title[start : start + length])
    brand = " ".join(words(document.get(fields.brand, "")))
    kind = " ".join(words(document.get(fields.category, ""))[-2:])
    negation = draw.choice(sorted(lexicon.language.negations))
    forms = [span, span, span]
    forms += [kind, f"{brand} {kind}".strip(), f"{draw.choice(title)} {kind}"] if kind else []
    forms += [f"{brand} {span}"] if brand else []
    forms += [f"{kind or span} {negation} {draw.choice(title)}"]
    return draw.choice(forms)
