"""What the words of a pair say about it, as a few numbers: the evidence that stands beside the encoder's logit.

Promises the same numbers for the same pair on every machine and in any company: each is arithmetic on words,
without a model. A small encoder reads meaning well and letters badly: a number that is missing, a brand, the word
after "without". What is learned from data, the rarity of words, is learned from documents without labels
(`Lexicon.of`) and travels as plain JSON. It knows neither weights nor which of the numbers is good or bad.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.pairs import FLAT_FIELD, Fields

NAMES = (
    "title_coverage",  # rarity-weighted share of the query's words that the title holds
    "head_coverage",  # the same in title, brand and category together
    "coverage",  # the same in all fields
    "category_coverage",
    "title_missing",  # total rarity of the words that the title lacks
    "last_word_in_head",  # the last word of the query names the thing, in many languages
    "kind_in_head",  # the last word before the first glue word ("case" in "case for phone")
    "title_precision",  # rarity-weighted share of the title that the query asks for
    "neighbours_kept",  # share of the query's adjacent words that the title holds both of
    "brand_in_query",  # share of the brand's words that the query names
    "numbers_missing",  # share of the query's numbers that no field holds
    "negated",  # the query excludes something
    "excluded_in_title",  # the title holds what the query excludes, and nothing there denies it
    "exclusion_confirmed",  # a negation stands before what the query excludes
    "query_words",  # logarithm of their number
    "rarest_found",  # the query's rarest word is in some field
)
"""The features, in their order. Each is finite; shares lie between 0 and 1."""

_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(rf"\d+(?:[./]\d+)?|[^\W\d_]+(?:['{_APOSTROPHE}][^\W\d_]+)?")
_STEM_MATCH = 0.9
"""How much a word of the same stem counts: `chargers` for `charger`."""
_SHORTEST_STEM = 4
_CUE_REACH = 3
"""A negation is sought so many words before what it may deny."""
_QUERIES_KEPT = 4096
"""Candidates come many to a query: its analysis is kept."""


@dataclass(frozen=True, slots=True)
class Language:
    """The few words whose role must be known. The defaults are English."""

    negations: frozenset[str] = frozenset({"without", "not", "no", "non"})
    """What follows one of them in a query is excluded."""
    suffixes: frozenset[str] = frozenset({"free", "less"})
    """After a word they deny it: "sugar free"."""
    glue: frozenset[str] = frozenset(
        "for with and of the to in a an on by w my is are your at or".split()  # noqa: SIM905 - as it is read
    )
    """Words that bind others and name nothing."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal value."""
        return {
            "negations": sorted(self.negations),
            "suffixes": sorted(self.suffixes),
            "glue": sorted(self.glue),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Language:
        """Read what `to_json` wrote. Raises KeyError or TypeError for anything else."""
        return cls(*(frozenset(data[name]) for name in ("negations", "suffixes", "glue")))


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """Which fields of a document are what. All others are body; a flat document is all title."""

    title: str = "title"
    brand: str = "brand"
    category: str = "category"


@dataclass(frozen=True, slots=True)
class _Query:
    """A query, taken apart."""

    asked: tuple[str, ...]
    """Words that it asks for, at least one unless it has no word at all."""
    weights: NDArray[np.float64]
    """Their rarities, float64 `[n]`."""
    wanted: _Words
    """The same words, to look a title's up in."""
    kind: str
    excluded: tuple[str, ...]
    unwanted: _Words
    """The excluded words, to look a document's up in."""


class _Words:
    """The words of a document, or of a part of it, ready to be looked up."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self._exact = frozenset(self.words)
        self._by_start: dict[str, list[str]] = {}
        for word in self._exact:
            self._by_start.setdefault(word[:_SHORTEST_STEM], []).append(word)

    def holds(self, word: str) -> float:
        """1 for the word itself, less for one of the same stem, 0 otherwise."""
        if word in self._exact:
            return 1.0
        alike = self._by_start.get(word[:_SHORTEST_STEM], ())
        return _STEM_MATCH if any(_same_stem(word, other) for other in alike) else 0.0

    def hits(self, words: Sequence[str]) -> NDArray[np.float64]:
        """`holds` for each, float64 `[n]`."""
        return np.fromiter(map(self.holds, words), np.float64, len(words))


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """How rare words are, and with it what a pair's words say."""

    rarity: Mapping[str, float]
    """Inverse document frequency over its largest value, from 0 (everywhere) to 1; absent words count 1."""
    fields: DocumentFields = DocumentFields()
    language: Language = Language()
    _analysed: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_analysed", functools.lru_cache(_QUERIES_KEPT)(self._analyse))

    @classmethod
    def of(
        cls,
        documents: Iterable[Fields],
        *,
        fields: DocumentFields = DocumentFields(),
        language: Language = Language(),
    ) -> Lexicon:
        """Count in how many documents each word is. Words of a single document are as rare as absent ones.

        Args:
            documents: Document-side fields; no labels are needed.
            fields: Which of them are what.
            language: Words with a role.

        Returns:
            The lexicon.
        """
        found: Counter[str] = Counter()
        n = 0
        for document in documents:
            n += 1
            found.update({word for text in document.values() for word in words(text)})
        highest = math.log(n + 1) or 1.0
        rarity = {
            word: min(1.0, math.log((n + 1) / (count + 0.5)) / highest)
            for word, count in sorted(found.items())
            if count > 1
        }
        return cls(rarity, fields, language)

    def features(self, query: str, document: Fields) -> NDArray[np.float64]:
        """What the words of one pair say.

        Args:
            query: The composed query text.
            document: Document-side fields; absent ones count as empty.

        Returns:
            One number for each of `NAMES`, float64 `[16]`, all finite; zeros where the query has no word.
        """
        asked: _Query = self._analysed(query)
        if not asked.asked:
            return np.zeros(len(NAMES))
        said = {name: words(text) for name, text in document.items()}
        title = _Words(said.get(self.fields.title if document.get(self.fields.title) else FLAT_FIELD, ()))
        brand = said.get(self.fields.brand, ())
        category = _Words(said.get(self.fields.category, ()))
        head = _Words((*title.words, *brand, *category.words))
        everything = _Words(itertools.chain.from_iterable(said.values()))

        weight, total = asked.weights, max(float(asked.weights.sum()), 1e-9)
        in_title, in_all = title.hits(asked.asked), everything.hits(asked.asked)
        held, confirmed = self._exclusion(asked, title, everything)
        numbers = [word for word in asked.asked if word[0].isdigit()]
        pairs = in_title[:-1] * in_title[1:] if len(in_title) > 1 else in_title
        return np.array(
            [
                weight @ in_title / total,
                weight @ head.hits(asked.asked) / total,
                weight @ in_all / total,
                weight @ category.hits(asked.asked) / total,
                weight @ (1 - in_title),
                head.holds(asked.asked[-1]),
                head.holds(asked.kind),
                self._precision(title, asked.wanted),
                pairs.mean(),
                np.mean([word in asked.asked for word in brand]) if brand else 0.0,
                1 - everything.hits(numbers).mean() if numbers else 0.0,
                float(bool(asked.excluded)),
                held * (1 - confirmed),
                confirmed,
                math.log(len(asked.asked) + len(asked.excluded)),
                in_all[int(np.argmax(weight))],
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back a lexicon that says the same."""
        return {
            "rarity": {word: round(value, 6) for word, value in self.rarity.items()},
            "fields": [self.fields.title, self.fields.brand, self.fields.category],
            "language": self.language.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Lexicon:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        rarity = {str(word): float(value) for word, value in data["rarity"].items()}
        if not all(0 <= value <= 1 for value in rarity.values()):
            raise ValueError("a word's rarity lies between 0 and 1")
        return cls(rarity, DocumentFields(*data["fields"]), Language.from_json(data["language"]))

    def _analyse(self, query: str) -> _Query:
        found = words(query)
        cut = next((i for i, word in enumerate(found) if i and word in self.language.negations), len(found))
        before, after = found[:cut], found[cut + 1 :]
        asked = tuple(word for word in before if word not in self.language.glue) or tuple(before)
        end = next((i for i, word in enumerate(before) if i and word in self.language.glue), len(before))
        excluded = tuple(word for word in after if word not in self.language.glue)
        return _Query(
            asked=asked,
            weights=np.array([self._rarity(word) for word in asked]),
            wanted=_Words(asked),
            kind=before[end - 1] if before else "",
            excluded=excluded,
            unwanted=_Words(excluded),
        )

    def _rarity(self, word: str) -> float:
        return self.rarity.get(word, 1.0)

    def _precision(self, title: _Words, wanted: _Words) -> float:
        distinct = sorted(set(title.words))
        total = sum(self._rarity(word) for word in distinct)
        return sum(self._rarity(word) * wanted.holds(word) for word in distinct) / total if total else 0.0

    def _exclusion(self, query: _Query, title: _Words, everything: _Words) -> tuple[float, float]:
        """Share of the excluded words that the title holds, and whether a negation stands by one anywhere."""
        if not query.excluded:
            return 0.0, 0.0
        held = float((title.hits(query.excluded) > 0).mean())
        said = everything.words
        for i, word in enumerate(said):
            if query.unwanted.holds(word) and (
                self.language.negations & set(said[max(0, i - _CUE_REACH) : i])
                or self.language.suffixes & set(said[i + 1 : i + 2])
            ):
                return held, 1.0
        return held, 0.0


def normal(text: str) -> str:
    """A text without what people do not mean by it: case, accents' spelling, and blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The words and numbers of a text in lower case, without a possessive ending, in order."""
    return [word.replace(_APOSTROPHE, "'").removesuffix("'s") for word in _WORD.findall(text.lower())]


def _same_stem(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    if shorter < _SHORTEST_STEM or one[0].isdigit():
        return False
    length = max(_SHORTEST_STEM, shorter - 1)
    return one[:length] == other[:length]
