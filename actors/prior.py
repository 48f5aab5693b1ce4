"""The part of a pair's logit that follows from its words: a weighted sum of `lexical` features.

Optional in a bundle: where `prior.json` is there, it is added to what the encoder says, in training as in serving,
so that the encoder learns what words do not tell. Knows neither tokens nor the encoder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.errors import BundleProblem
from actors.kinds import MALFORMED
from actors.lexical import NAMES, Lexicon
from actors.pairs import Fields

PRIOR_FILE = "prior.json"


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """`logit = intercept + sum of weight * feature`: higher is worse."""

    lexicon: Lexicon
    weights: tuple[float, ...]
    """One for each of `lexical.NAMES`, finite."""
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if len(self.weights) != len(NAMES) or not np.isfinite((*self.weights, self.intercept)).all():
            raise ValueError(f"a prior needs {len(NAMES)} finite weights and a finite intercept")

    def logit(self, query: str, document: Fields) -> float:
        """Severity by the words alone; finite.

        Args:
            query: The composed query text.
            document: Document-side fields.

        Returns:
            The logit.
        """
        return self.intercept + float(self.lexicon.features(query, document) @ np.asarray(self.weights))

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back a prior that says the same."""
        return {
            "weights": {name: float(weight) for name, weight in zip(NAMES, self.weights, strict=True)},
            "intercept": float(self.intercept),
            "lexicon": self.lexicon.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prior:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        weights = data["weights"]
        if set(weights) != set(NAMES):
            raise ValueError(f"features of another release: {sorted(set(weights) ^ set(NAMES))}")
        return cls(
            Lexicon.from_json(data["lexicon"]),
            tuple(float(weights[name]) for name in NAMES),
            float(data["intercept"]),
        )


def write_prior(folder: Path, prior: Prior) -> None:
    """Write the prior's file into a folder."""
    text = json.dumps(prior.to_json(), ensure_ascii=False, allow_nan=False)
    (folder / PRIOR_FILE).write_text(text + "\n", encoding="utf-8")


def read_prior(folder: Path) -> Prior | None:
    """The prior of a checked bundle.

    Args:
        folder: The bundle's.

    Returns:
        The prior; None where the bundle has none.

    Raises:
        BundleProblem: The file is malformed.
    """
    try:
        return Prior.from_json(json.loads((folder / PRIOR_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        raise BundleProblem(str(folder), f"{PRIOR_FILE} is malformed: {error!r}") from error
