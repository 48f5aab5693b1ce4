"""What a gate keeps with the offsets that it commits, for whoever goes on from them. Kafka calls it metadata.

As text: `sluice/1`, then words. Words that this version does not know are passed over, so that a later one may
add some; a note that is absent, or another's, says nothing. Pure.
"""

from __future__ import annotations

from typing import NamedTuple, Self

_OURS = "sluice/1"
_BRAKED = "braked"
_RUN = "run="


class Note(NamedTuple):
    """What was so when the offset was committed."""

    braked: bool = False
    """The brake was on."""
    run: int = 1
    """The run number that verdicts carry from here on."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The note that a text says; one that says nothing where it is none of ours."""
        ours, *words = text.split() or [""]
        if ours != _OURS:
            return cls()
        runs = [word.removeprefix(_RUN) for word in words if word.startswith(_RUN)]
        numbers = [int(run) for run in runs if run.isascii() and run.isdigit()]
        return cls(_BRAKED in words, max(numbers, default=1))

    def __str__(self) -> str:
        """The text; empty where there is nothing to say."""
        words = [_BRAKED] if self.braked else []
        if self.run != 1:
            words.append(f"{_RUN}{self.run}")
        return " ".join([_OURS, *words]) if words else ""
