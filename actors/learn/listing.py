"""Pairs as a person finds them again: bounded lists of them, each with the whole number beside it.

Promises texts that fit on a line and hold no character that could move a cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.learn.sample import Sample

LISTED = 20
"""Examples that are shown of a kind."""
LINE = 80
"""Characters that are shown of a text."""
_JOINERS = "\u200c\u200d"
"""Not to be seen, but part of how words are written in some scripts, and of some emoji."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair, as a person finds it again."""

    pair: int
    """Its place in `Labels.pairs`."""
    query: str
    """Cut to a line."""
    document: str
    """Cut to a line."""
    said: str
    """What is remarkable about it."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"pair": self.pair, "query": self.query, "document": self.document, "said": self.said}


@dataclass(frozen=True, slots=True)
class Listed:
    """How many there are of a kind, and the first of them."""

    n: int
    shown: tuple[Shown, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"n": self.n, "shown": [one.to_json() for one in self.shown]}


def one_line(text: str, most: int = LINE) -> str:
    """The beginning of a text, without line breaks and other characters that are not to be seen."""
    seen = "".join(
        letter if letter.isprintable() or letter in _JOINERS else " " for letter in text[: 4 * most]
    )
    plain = " ".join(seen.split())
    return plain if len(plain) <= most and len(text) <= 4 * most else plain[: most - 1] + "…"


def show(sample: Sample, place: int, said: str) -> Shown:
    """A pair of the sample, and what is remarkable about it."""
    texts = one_line(sample.query[place]), one_line(sample.document[place])
    return Shown(place, *texts, one_line(said, 2 * LINE))
