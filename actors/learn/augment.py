"""More pairs to learn from than people labelled: made from the train role's own queries and documents.

Promises that equal arguments give equal pairs, that a side keeps at least one field, and that what is called a
mismatch is one by a guard that the caller owns: a document of another cluster may fit a query all the same. Pure;
it knows neither tokens nor models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.lexical import Language, words
from actors.pairs import Fields

_TRIES_PER_PAIR = 20
_NEGATION = "without"
_ENGLISH = Language()
_START = 3
"""Letters at the beginning of a word that make two words too alike to tell a pair apart."""


@dataclass(frozen=True, slots=True)
class Example:
    """A pair to learn from."""

    query: Fields
    document: Fields
    severe: float
    """Target, from 0 to 1."""
    weight: float = 1.0
    """How much it counts, above 0."""


Near = Callable[[Fields, Fields], bool]
"""Whether a document may fit a query: such a pair is no mismatch to learn from."""


def mismatches(
    queries: Sequence[Fields],
    documents: Sequence[Fields],
    cluster: Sequence[int],
    *,
    n: int,
    near: Near,
    weight: float = 1.0,
    seed: int = 0,
) -> list[Example]:
    """Queries with documents that were meant for others.

    Args:
        queries: Of the labelled pairs, m of them.
        documents: Theirs, m of them.
        cluster: Cluster of each pair's query, m of them.
        n: How many to make.
        near: The guard.
        weight: Of each, above 0.
        seed: Names the draw.

    Returns:
        At most n pairs, each once, all severe; fewer where the guard turns most away.
    """
    draw = random.Random(f"mismatches/{seed}")
    found: dict[str, Example] = {}
    for _ in range(_TRIES_PER_PAIR * n if len(set(cluster)) > 1 else 0):
        if len(found) == n:
            break
        one, other = draw.randrange(len(queries)), draw.randrange(len(documents))
        if cluster[one] != cluster[other] and not near(queries[one], documents[other]):
            texts = sorted(queries[one].items()), sorted(documents[other].items())
            found.setdefault(repr(texts), Example(queries[one], documents[other], 1.0, weight))
    return list(found.values())


def without_fields(example: Example, *, share: float, draw: random.Random) -> Example:
    """Drop fields of the document by chance, so that no single one is leant on.

    Args:
        example: A pair.
        share: Chance of each field to go, from 0 to 1.
        draw: Advanced by one number for each field, and one more where all would go.

    Returns:
        The pair with at least one field of its document; itself where that has none.
    """
    names = list(example.document)
    if not names:
        return example
    kept = [name for name in names if draw.random() >= share] or [draw.choice(names)]
    document = {name: example.document[name] for name in kept}
    return Example(example.query, document, example.severe, example.weight)


def exclusions(
    titles: Sequence[str],
    *,
    n: int,
    language: Language = _ENGLISH,
    field: str = "text",
    document_field: str = "title",
    weight: float = 1.0,
    seed: int = 0,
) -> list[Example]:
    """Queries that exclude something, made from titles: "… without y" against a title with y, and one without it.

    Both polarities come in twos and about the same thing: what tells them apart is only whether the excluded word
    is in the document. Titles that exclude something themselves are left alone, and so is a word whose beginning
    the twin holds: "strap" where it was "straps".

    Args:
        titles: Of documents, some of which share a word.
        n: How many pairs to make.
        language: Words with a role: negations and glue.
        field: Of the query.
        document_field: Of the document.
        weight: Of each, above 0.
        seed: Names the draw.

    Returns:
        At most n pairs: severe, not severe, severe, …
    """
    draw = random.Random(f"exclusions/{seed}")
    denying = language.negations | language.suffixes
    holding: dict[str, list[str]] = {}
    for title in dict.fromkeys(titles):
        if denying.isdisjoint(words(title)):
            for word in dict.fromkeys(_naming(title, language)):
                holding.setdefault(word, []).append(title)
    kinds = [word for word, held in holding.items() if len(held) > 1]
    found: dict[tuple[str, str, str], list[Example]] = {}
    for _ in range(_TRIES_PER_PAIR * n if kinds else 0):
        if 2 * len(found) + 2 > n:
            break
        kind = draw.choice(kinds)
        bad, good = draw.sample(holding[kind], 2)
        starts = {word[:_START] for word in words(good)}
        only = [word for word in _naming(bad, language) if word[:_START] not in starts]
        if not only:
            continue
        excluded = draw.choice(only)
        query = {field: f"{kind} {_NEGATION} {excluded}"}
        found[kind, bad, good] = [
            Example(query, {document_field: bad}, 1.0, weight),
            Example(query, {document_field: good}, 0.0, weight),
        ]
    return [example for two in found.values() for example in two]


def _naming(title: str, language: Language) -> list[str]:
    """The words that can name something."""
    return [word for word in words(title) if len(word) >= _START and word not in language.glue]
