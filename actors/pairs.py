"""How a candidate's fields become the two texts that the encoder reads.

The template lives in the bundle, so that training and serving cannot differ. Composing is pure, and it
never raises for data: what cannot be read as a pair comes back as a `TextProblem`. This module knows
nothing of tokens, models or where the fields came from.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.kinds import of_kind

Fields = Mapping[str, str]
"""One side of a candidate. A flat string arrives as the one field `text`."""

FLAT_FIELD = "text"
MAX_CHARS = 20_000
"""Ceiling on each composed text, where nobody sets another."""


class Side(enum.StrEnum):
    """Which of the two texts."""

    QUERY = "query"
    DOCUMENT = "document"


class Fault(enum.StrEnum):
    """What can be wrong with a text."""

    EMPTY = "empty_text"
    TOO_LONG = "text_too_long"
    LONE_SURROGATE = "lone_surrogate"


@dataclass(frozen=True, slots=True)
class TextProblem:
    """Why a candidate has no pair of texts. A value, never an exception; its text never quotes the data."""

    side: Side
    fault: Fault
    n_chars: int
    """Characters in the composed text."""
    max_chars: int
    """The limit that applied."""

    def __str__(self) -> str:
        match self.fault:
            case Fault.EMPTY:
                return f"no field of the {self.side} that the pair template names holds any text"
            case Fault.TOO_LONG:
                return f"the {self.side} text has {self.n_chars} characters, the limit is {self.max_chars}"
            case Fault.LONE_SURROGATE:
                return f"the {self.side} text holds half of a surrogate pair, which is not Unicode text"


@dataclass(frozen=True, slots=True)
class Part:
    """One field's place in a text."""

    field: str
    """Name of the field. Absent or blank, it is skipped together with its label."""
    label: str = ""
    """Written directly before the field's value, such as `"Brand: "`."""


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Which fields make up each text, in which order.

    Fields that the template does not name are ignored, and so are fields that a candidate lacks: one
    template serves flat strings and structured candidates, as long as it names `text` too.
    """

    query: tuple[Part, ...] = (Part(FLAT_FIELD),)
    """Parts of the query text, in order."""
    document: tuple[Part, ...] = (Part(FLAT_FIELD),)
    """Parts of the document text, in order."""
    separator: str = " "
    """Written between parts."""

    def __post_init__(self) -> None:
        for side, parts in ((Side.QUERY, self.query), (Side.DOCUMENT, self.document)):
            names = [part.field for part in parts]
            if not names or len(set(names)) != len(names):
                raise ValueError(f"the {side} side of a pair template needs parts, each field once: {names}")

    def compose(self, query: Fields, document: Fields, *, max_chars: int) -> tuple[str, str] | TextProblem:
        """The two texts, or the first problem with them, the query's before the document's.

        Args:
            query: Query-side fields.
            document: Document-side fields.
            max_chars: Ceiling on each of the two texts, in characters.

        Returns:
            Query text and document text, both fit to be tokenized; or what keeps them from it.
        """
        query_text = _join(self.query, query, self.separator)
        document_text = _join(self.document, document, self.separator)
        return (
            _problem(Side.QUERY, query_text, max_chars)
            or _problem(Side.DOCUMENT, document_text, max_chars)
            or (query_text, document_text)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal template."""
        return {
            "query": [[part.field, part.label] for part in self.query],
            "document": [[part.field, part.label] for part in self.document],
            "separator": self.separator,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PairTemplate:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(
            query=tuple(Part(of_kind(str, field), of_kind(str, label)) for field, label in data["query"]),
            document=tuple(
                Part(of_kind(str, field), of_kind(str, label)) for field, label in data["document"]
            ),
            separator=of_kind(str, data["separator"]),
        )


def _join(parts: tuple[Part, ...], fields: Fields, separator: str) -> str:
    present = ((part, fields.get(part.field, "").strip()) for part in parts)
    return separator.join(part.label + value for part, value in present if value)


def _problem(side: Side, text: str, max_chars: int) -> TextProblem | None:
    fault = _fault(text, max_chars)
    return None if fault is None else TextProblem(side, fault, n_chars=len(text), max_chars=max_chars)


def _fault(text: str, max_chars: int) -> Fault | None:
    if not text:
        return Fault.EMPTY
    if len(text) > max_chars:
        return Fault.TOO_LONG
    try:
        text.encode()
    except UnicodeEncodeError:
        return Fault.LONE_SURROGATE
    return None
