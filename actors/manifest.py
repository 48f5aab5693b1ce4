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
from actors.kinds import of_kind, texts
from actors.pairs import PairTemplate
from actors.policy import Policy
from actors.rubric import Rubric
from actors.serving import Serving

SCHEMA_VERSION = 3
"""Goes up when an older reader would misunderstand a bundle. Readers refuse any other."""

_N_QUANTILES = 101


@dataclass(frozen=True, slots=True)
class RoleCount:
    """The labels that one role had."""

    n_pairs: int
    n_severe: int
    """Severe violations among them."""
    n_clusters: int
    """Clusters of alike queries that they are of."""

    def __post_init__(self) -> None:
        if not (0 <= self.n_severe <= self.n_pairs and 0 <= self.n_clusters <= self.n_pairs):
            raise ValueError(f"not counts of labels: {self}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RoleCount:
        """Read the fields by name. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(*(of_kind(int, data[name]) for name in ("n_pairs", "n_severe", "n_clusters")))


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """How the logits were distributed when the bundle was made: what drift is measured against."""

    n: int
    """Pairs scored."""
    quantiles: tuple[float, ...]
    """Logits at evenly spaced probabilities from 0 to 1, ascending."""

    def __post_init__(self) -> None:
        values = np.array(self.quantiles, np.float64)
        if self.n < 1 or not len(values) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError("a reference distribution needs scores, and quantiles that rise")

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
    reference: ReferenceScores
    rubric: Rubric
    """The levels of the labels, and which are severe."""
    roles: Mapping[str, RoleCount]
    """What each role rests on, by `learn.roles.Role`: `train`, `map`, ...; empty where nothing was learned."""
    origin: str
    """Where the labels come from, for a person."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Name of each label file to its `sha256:<hex>`."""
    code: str = ""
    """Digest of the code that learned, `sha256:<hex>`; empty where it is not known."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What `learn.evaluate.Evaluation.to_json` says of the test role, plain data; empty where nobody measured."""
    parent: str | None = None
    """Digest of the bundle that this one was made from, with the same weights."""
    serving: Serving = field(default_factory=Serving)
    """How the encoder is computed: the one way that map and policy are for."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to `sha256:<hex>`; filled in by `write_bundle`."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens < 2**31:
            raise ValueError(f"no pair has at most {self.max_tokens} tokens")

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical JSON: the bundle's identity."""
        return sha256(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal manifest."""
        return {
            "schema": SCHEMA_VERSION,
            "name": self.name,
            "template": self.template.to_json(),
            "max_tokens": self.max_tokens,
            "calibration": self.calibration.to_json(),
            "policy": self.policy.to_json(),
            "reference": {"n": self.reference.n, "quantiles": [float(q) for q in self.reference.quantiles]},
            "rubric": self.rubric.to_json(),
            "roles": {role: asdict(count) for role, count in self.roles.items()},
            "origin": self.origin,
            "data": dict(self.data),
            "code": self.code,
            "metrics": dict(self.metrics),
            "parent": self.parent,
            "serving": self.serving.to_json(),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        reference = data["reference"]
        return cls(
            name=of_kind(str, data["name"]),
            template=PairTemplate.from_json(data["template"]),
            max_tokens=of_kind(int, data["max_tokens"]),
            calibration=calibration_from_json(data["calibration"]),
            policy=Policy.from_json(data["policy"]),
            reference=ReferenceScores(
                of_kind(int, reference["n"]), tuple(float(q) for q in reference["quantiles"])
            ),
            rubric=Rubric.from_json(data["rubric"]),
            roles={role: RoleCount.from_json(count) for role, count in data["roles"].items()},
            origin=of_kind(str, data["origin"]),
            data=texts(data["data"]),
            code=of_kind(str, data["code"]),
            metrics=dict(data["metrics"]),
            parent=None if data["parent"] is None else of_kind(str, data["parent"]),
            serving=Serving.from_json(data["serving"]),
            files=texts(data["files"]),
        )


def canonical_json(data: Mapping[str, Any]) -> bytes:
    """One spelling per value: sorted keys, no blanks, UTF-8, shortest floats."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256(data: bytes) -> str:
    """The digest as bundles spell it, `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
