"""What a bundle says about itself: everything but the files, which it names by digest.

Plain values and their canonical JSON; no folder is touched here. The bundle's digest is the SHA-256 of
that JSON, and the JSON holds the digest of every file: a bundle that differs in one byte, in one threshold
or in one word of its template has another digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from actors.calibration import CalibrationMap, calibration_from_json
from actors.pairs import PairTemplate
from actors.policy import Policy

FORMAT_VERSION = 1
"""Goes up when an older reader would misunderstand a bundle. Readers refuse any other."""

_N_QUANTILES = 101


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """The labels that the weights, the map and the policy rest on."""

    n_train: int
    """Pairs that the encoder learned from."""
    n_train_severe: int
    """Severe violations among them."""
    n_calibration: int
    """Pairs that the map was fitted on, none of them trained on."""
    n_calibration_severe: int
    """Severe violations among them."""
    origin: str
    """Where the labels come from, for a person."""


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """How the logits were distributed when the bundle was made: what drift is measured against."""

    n: int
    """Pairs scored."""
    quantiles: tuple[float, ...]
    """Logits at evenly spaced probabilities from 0 to 1, ascending."""

    @classmethod
    def of(cls, logits: ArrayLike) -> ReferenceScores:
        """Summarise at every percent.

        Args:
            logits: Finite logits, float `[n]`, at least one.

        Returns:
            The summary.
        """
        values = np.asarray(logits, dtype=np.float64)
        if not values.size or not np.isfinite(values).all():
            raise ValueError("a reference distribution needs finite logits")
        quantiles = np.quantile(values, np.linspace(0, 1, _N_QUANTILES))
        return cls(n=len(values), quantiles=tuple(quantiles.tolist()))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle without its files' contents."""

    name: str
    """What people call it; goes into logs, not into decisions."""
    template: PairTemplate
    max_tokens: int
    """Ceiling on the tokens of a pair, special tokens included; longer pairs are cut."""
    calibration: CalibrationMap
    policy: Policy
    labels: LabelStatistics
    reference: ReferenceScores
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to `sha256:<hex>`; filled in by `write_bundle`."""

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical JSON: the bundle's identity."""
        return sha256(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal manifest."""
        return {
            "format": FORMAT_VERSION,
            "name": self.name,
            "template": self.template.to_json(),
            "max_tokens": self.max_tokens,
            "calibration": self.calibration.to_json(),
            "policy": self.policy.to_json(),
            "labels": asdict(self.labels),
            "reference": {"n": self.reference.n, "quantiles": [float(q) for q in self.reference.quantiles]},
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        reference = data["reference"]
        return cls(
            name=data["name"],
            template=PairTemplate.from_json(data["template"]),
            max_tokens=data["max_tokens"],
            calibration=calibration_from_json(data["calibration"]),
            policy=Policy.from_json(data["policy"]),
            labels=LabelStatistics(**data["labels"]),
            reference=ReferenceScores(n=reference["n"], quantiles=tuple(reference["quantiles"])),
            files=dict(data["files"]),
        )


def canonical_json(data: Mapping[str, Any]) -> bytes:
    """One spelling per value: sorted keys, no blanks, UTF-8, shortest floats."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256(data: bytes) -> str:
    """The digest as bundles spell it, `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
