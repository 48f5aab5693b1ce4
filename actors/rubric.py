"""The levels that a label can have, and which of them are severe.

The score that acts is the probability of a severe level. Gains rank levels for ranking metrics; they are never
what is learned: a model of the gain tells the severe level from the rest less well than one of severity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.kinds import of_kind


@dataclass(frozen=True, slots=True)
class Rubric:
    """Levels with their gains, and the severe ones among them."""

    gains: Mapping[str, float]
    """Gain of each level, in the order to show them; at least two levels."""
    severe: frozenset[str]
    """Levels that are severe violations: some, not all."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(gain) for gain in self.gains.values()):
            raise ValueError("a gain of the rubric is not finite")
        if not (self.severe and self.severe < set(self.gains)):
            raise ValueError(
                f"a rubric needs severe levels and others: severe {sorted(self.severe)} of {list(self.gains)}"
            )

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, in order."""
        return tuple(self.gains)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal rubric."""
        gains = [[level, float(gain)] for level, gain in self.gains.items()]
        return {"gains": gains, "severe": sorted(self.severe)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rubric:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(
            {of_kind(str, level): float(gain) for level, gain in data["gains"]}, frozenset(data["severe"])
        )


SEVERE_OR_NOT = Rubric({"fine": 1.0, "severe": 0.0}, frozenset({"severe"}))
"""The plainest one."""
