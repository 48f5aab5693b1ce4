"""A catalogue of candidates whose truth is known, because they were made by it.

Promises that whether an item is a severe violation depends on the *pair*. A document says two things in
fixed places (made with one content and without another; of one brand and compatible with another; a size
and some other number), and a rule names one of them: put into the wrong place, the same words break the
rule that they kept. Both polarities of a rule are equally frequent. The probability that an item is
labelled severe is known, so a filter's precision can be computed instead of estimated. Equal arguments
give equal items, on every machine. It knows neither models nor tokenizers.
"""

from __future__ import annotations

import enum
import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from actors.learn.vocabulary import Domain, Facet, Family, Split, Vocabulary, vocabulary

_RULES_PER_FAMILY = 12
# A family's rules and documents share few values, so that each is now right and now wrong: with all
# values open, a document alone would betray its theme, and with it the label (AUC 0.63 instead of 0.5x).
_VALUES_PER_FACET = 4
_SIZES = range(10, 61)
_AGES = range(2, 15)
# How often a broken rule's words are there, in the wrong place, rather than missing. The higher, the less do
# shared words give away (AUC 0.73 at 0.6, 0.77 at 0.4), and the less has the demo's encoder time to learn.
_MISPLACED = 0.35
_WITH_WISH = 0.6
_WISH_MET_BY_CHANCE = 0.75
_WITHOUT_FILLER = 0.4


class Kind(enum.StrEnum):
    """How an item was made, and with it the truth about it."""

    ON_THEME = "on_theme"
    """Belongs, keeps the rule, meets the wish."""
    NEAR_MISS = "near_miss"
    """Keeps the rule, but does not meet the wish, or is a sister product: borderline, not severe."""
    OFF_THEME = "off_theme"
    """A product of another world."""
    POLICY_VIOLATION = "policy_violation"
    """Belongs, and breaks the rule."""

    @property
    def p_severe(self) -> float:
        """Probability that a person labels such an item severe."""
        return _P_SEVERE[self]


# With `SHARES`, 6% of the labels differ from the likelier one: what no model can know.
_P_SEVERE = {
    Kind.ON_THEME: 0.04,
    Kind.NEAR_MISS: 0.20,
    Kind.OFF_THEME: 0.96,
    Kind.POLICY_VIOLATION: 0.95,
}
SHARES: Mapping[Kind, float] = {
    Kind.ON_THEME: 0.45,
    Kind.NEAR_MISS: 0.10,
    Kind.OFF_THEME: 0.20,
    Kind.POLICY_VIOLATION: 0.25,
}
"""How frequent each kind is, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a theme demands of its items."""

    facet: Facet
    value: str
    """A content, a brand, a size or an age."""
    affirmed: bool
    """Contents: must have it, else must not. Brand: is made by it, else fits it. Others: always true."""

    @property
    def place(self) -> int:
        """Which of a document's two places the value belongs to: 0 or 1."""
        return 0 if self.affirmed else 1

    @property
    def forbids(self) -> bool:
        """Whether only naming the value can break the rule."""
        return self.facet is Facet.CONTENTS and not self.affirmed


@dataclass(frozen=True, slots=True)
class Theme:
    """One placement: what it shows, the rule that its items must keep, and perhaps a wish."""

    family: Family
    rule: Rule
    colour: str | None
    """The wish."""
    brief: str
    """Rule and wish in words."""

    @property
    def name(self) -> str:
        """Unique among all themes."""
        return f"{self.family.theme}: {self.brief}"

    @property
    def query(self) -> dict[str, str]:
        """The query-side fields; alike for all candidates of the theme."""
        return {"theme": self.family.theme, "brief": self.brief}


@dataclass(frozen=True, slots=True)
class Item:
    """One candidate, with the truth about it."""

    candidate_id: str
    query: dict[str, str]
    """Fields `theme` and `brief`."""
    document: dict[str, str]
    """Fields `title` and `details`."""
    theme: str
    """Name of its theme: the cluster."""
    template: str
    """The patterns that the document was written with."""
    kind: Kind
    severe: bool
    """The label, drawn with probability `p_severe`."""

    @property
    def p_severe(self) -> float:
        """The known probability that the label says severe."""
        return self.kind.p_severe

    @property
    def truly_severe(self) -> bool:
        """The label without its noise."""
        return self.kind.p_severe > 0.5


def generate(*, seed: int, n: int, split: Split, shares: Mapping[Kind, float] = SHARES) -> list[Item]:
    """Draw candidates over all themes of a split, in random order.

    Args:
        seed: Names the draw. The themes do not depend on it.
        n: How many.
        split: Whose themes, words and patterns.
        shares: Relative frequency of each kind.

    Returns:
        The candidates; their ids are unique over seeds and splits.
    """
    rng = random.Random(f"{split}/{seed}")
    writer = _Writer(vocabulary(split), rng)
    placements = themes(split)
    items = []
    for i, kind in enumerate(rng.choices(list(shares), weights=list(shares.values()), k=n)):
        theme = rng.choice(placements)
        document, template = writer.write(theme, kind)
        item = Item(
            candidate_id=f"{split}-{seed}-{i:06d}",
            query=theme.query,
            document=document,
            theme=theme.name,
            template=template,
            kind=kind,
            severe=rng.random() < kind.p_severe,
        )
        items.append(item)
    return items


@functools.cache
def themes(split: Split) -> tuple[Theme, ...]:
    """The placements of a split, always the same: every family, under several rules."""
    rng = random.Random(f"themes/{split}")
    words = vocabulary(split)
    drawn = [
        _draw_theme(family, rule, words, rng)
        for family in words.families
        for rule in itertools.islice(_rules(family, words), _RULES_PER_FAMILY)
    ]
    return tuple({theme.name: theme for theme in drawn}.values())


def _rules(family: Family, words: Vocabulary) -> Iterator[Rule]:
    """Rules without end: facets, values and polarities take turns, so that none prevails."""
    facets = words.domains[family.domain].facets
    turns = {facet: itertools.cycle(_rules_about(facet, _values(facet, family, words))) for facet in facets}
    return (next(turns[facet]) for facet in itertools.cycle(facets))


def _rules_about(facet: Facet, values: Sequence[str]) -> list[Rule]:
    if facet in {Facet.SIZE, Facet.AGE}:
        return [Rule(facet, value, affirmed=True) for value in values]
    # Alternating within the first round as well: few families see a second one.
    return [
        Rule(facet, value, affirmed=(i + turn) % 2 == 0) for turn in (0, 1) for i, value in enumerate(values)
    ]


def _draw_theme(family: Family, rule: Rule, words: Vocabulary, rng: random.Random) -> Theme:
    domain = words.domains[family.domain]
    role = {
        Facet.CONTENTS: "including" if rule.affirmed else "excluding",
        Facet.BRAND: "genuine" if rule.affirmed else "fitting",
        Facet.SIZE: "sized",
        Facet.AGE: "aged",
    }[rule.facet]
    written = domain.units[0].format(n=rule.value) if rule.facet is Facet.SIZE else rule.value
    brief = rng.choice(words.patterns[role]).format(value=written)
    colour = rng.choice(words.colours) if domain.colourful and rng.random() < _WITH_WISH else None
    if colour:
        brief += ", " + rng.choice(words.patterns["wish"]).format(colour=colour)
    return Theme(family, rule, colour, _sentence(brief))


def _values(facet: Facet, family: Family, words: Vocabulary) -> list[str]:
    """What a family's rules about this facet, and its documents' places for it, can hold: always the same."""
    everything: Mapping[Facet, Sequence[object]] = {
        Facet.CONTENTS: words.domains[family.domain].contents,
        Facet.BRAND: words.brands,
        Facet.SIZE: _SIZES,
        Facet.AGE: _AGES,
    }
    few = random.Random(f"{family.theme}/{facet}").sample(everything[facet], _VALUES_PER_FACET)
    return [str(value) for value in few]


class _Writer:
    """Writes documents, drawing all that it is free to choose from one generator, which it advances."""

    def __init__(self, words: Vocabulary, rng: random.Random) -> None:
        self._words = words
        self._rng = rng

    def write(self, theme: Theme, kind: Kind) -> tuple[dict[str, str], str]:
        """A document that makes the pair of this kind, and the patterns that it was written with."""
        family = self._family(theme, kind)
        domain = self._words.domains[family.domain]
        if kind is Kind.OFF_THEME:
            facet = self._rng.choice(domain.facets)
            first, second = self._rng.sample(_values(facet, family, self._words), 2)
        else:
            facet = theme.rule.facet
            first, second = self._places(theme.rule, family, kept=kind is not Kind.POLICY_VIOLATION)
        clause, clause_pattern = self._clause(facet, first, second, domain)
        title_pattern = self._pick("title")
        colour = self._colour(theme, kind) if domain.colourful else ""
        product = self._rng.choice(family.products)
        maker = first if facet is Facet.BRAND else self._rng.choice(self._words.brands)
        details = clause if self._rng.random() < _WITHOUT_FILLER else f"{clause}, {self._pick('filler')}"
        document = {
            "title": _sentence(title_pattern.format(maker=maker, product=product, colour=colour)),
            "details": _sentence(details),
        }
        return document, f"{title_pattern} / {clause_pattern}"

    def _family(self, theme: Theme, kind: Kind) -> Family:
        """Whose product it is."""
        families = self._words.families
        domain = theme.family.domain
        if kind is Kind.OFF_THEME:
            return self._rng.choice([family for family in families if family.domain != domain])
        # Where there is a wish to miss, that is the near miss.
        if kind is Kind.NEAR_MISS and theme.colour is None:
            sisters = [
                family for family in families if family.domain == domain and family is not theme.family
            ]
            return self._rng.choice(sisters or [theme.family])
        return theme.family

    def _places(self, rule: Rule, family: Family, *, kept: bool) -> tuple[str, str]:
        """What the document's two places hold, so that the rule is kept or broken."""
        others = [value for value in _values(rule.facet, family, self._words) if value != rule.value]
        places = self._rng.sample(others, 2)
        if kept or rule.forbids or self._rng.random() < _MISPLACED:
            places[rule.place if kept else 1 - rule.place] = rule.value
        return places[0], places[1]

    def _clause(self, facet: Facet, first: str, second: str, domain: Domain) -> tuple[str, str]:
        """The clause that says both things, and its pattern."""
        pattern = self._pick(facet.value)
        match facet:
            case Facet.CONTENTS:
                return pattern.format(present=first, absent=second), pattern
            case Facet.BRAND:
                return pattern.format(maker=first, other=second), pattern
            case Facet.SIZE:
                first = self._rng.choice(domain.units).format(n=first)
        return pattern.format(right=first, decoy=self._pick("decoy").format(n=second)), pattern

    def _colour(self, theme: Theme, kind: Kind) -> str:
        """How the title tells the colour; it meets the wish of no other kind than on theme for certain."""
        met = kind is Kind.ON_THEME or (
            kind is not Kind.NEAR_MISS and self._rng.random() < _WISH_MET_BY_CHANCE
        )
        others = [colour for colour in self._words.colours if colour != theme.colour]
        colour = theme.colour if theme.colour and met else self._rng.choice(others)
        return self._pick("in_colour").format(colour=colour)

    def _pick(self, role: str) -> str:
        return self._rng.choice(self._words.patterns[role])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
