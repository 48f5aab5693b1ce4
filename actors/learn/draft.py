"""A model that has learned, as a bundle that may not act yet: it scores with the very code that will serve.

Promises that a draft prunes and reviews nothing, and says what it was made from: the labels by the digests of
their files, the learning by the digest of its code.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.bundle import Bundle, write_bundle
from actors.calibration import PlattMap
from actors.manifest import Manifest, ReferenceScores, RoleCount
from actors.pairs import PairTemplate
from actors.policy import Policy
from actors.rubric import Rubric

_ACTORS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Told:
    """What a bundle says about itself that no one measures."""

    name: str
    template: PairTemplate
    max_tokens: int
    rubric: Rubric
    origin: str
    """Where the labels come from, for a person."""
    roles: Mapping[str, RoleCount] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    """Digests of the label files, by name."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What was learned from, plain data."""


def write_draft(folder: Path, model_folder: Path, told: Told) -> Bundle:
    """Make a bundle without a map and thresholds.

    Args:
        folder: Where it goes; must not exist.
        model_folder: As `fit` writes it.
        told: What it says about itself.

    Returns:
        The bundle.

    Raises:
        BundleProblem: It cannot be written.
    """
    manifest = Manifest(
        name=told.name,
        template=told.template,
        max_tokens=told.max_tokens,
        calibration=PlattMap(),
        policy=Policy(prune=math.inf, review=math.inf, rests_on="nothing: a draft"),
        reference=ReferenceScores.of([0.0]),
        rubric=told.rubric,
        roles=told.roles,
        origin=told.origin,
        data=told.data,
        code=code_digest(),
        metrics={"training": dict(told.training)} if told.training else {},
    )
    return write_bundle(folder, model_folder=model_folder, manifest=manifest)


def code_digest() -> str:
    """`sha256:<hex>` of the code that learns and scores, whatever folder it lies in."""
    digest = hashlib.sha256()
    for path in sorted(_ACTORS.rglob("*.py")):
        digest.update(f"{path.relative_to(_ACTORS).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
