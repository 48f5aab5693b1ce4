"""What differs between two bundles, part by part, for people and for scripts. Pure; reads manifests only.

A part is something that an operator would ask about: the files, the template, the map, the thresholds, what is
promised, the evidence for it, what was learned from, how it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.manifest import Manifest

ABSENT = "absent"
"""In the place of what one of the two does not have."""


@dataclass(frozen=True, slots=True)
class Differing:
    """One fact that is not the same in both."""

    part: str
    """Such as `files`, `map` or `thresholds`."""
    what: str
    """Path within the part, its keys joined by dots."""
    one: Any
    """Plain data; `ABSENT` where the first bundle does not have it."""
    other: Any


def differences(one: Manifest, other: Manifest) -> list[Differing]:
    """Compare two bundles.

    Args:
        one: The first.
        other: The second.

    Returns:
        What differs, in the order of `parts`; empty for equal manifests.
    """
    ours, theirs = parts(one), parts(other)
    return [
        Differing(part, what, left.get(what, ABSENT), right.get(what, ABSENT))
        for part in ours
        for left, right in [(dict(_leaves(ours[part])), dict(_leaves(theirs[part])))]
        for what in {**left, **right}
        if what not in left or what not in right or _text(left[what]) != _text(right[what])
    ]


def parts(manifest: Manifest) -> dict[str, Any]:
    """A manifest by what an operator asks about; everything of it is in one part.

    Args:
        manifest: Any.

    Returns:
        Plain data by part.
    """
    said = manifest.to_json()
    policy = said.pop("policy")
    evidence = policy.pop("evidence")
    return {
        "files": said.pop("files"),
        "template": {**said.pop("template"), "max_tokens": said.pop("max_tokens")},
        "serving": said.pop("serving"),
        "map": said.pop("calibration"),
        "thresholds": {"prune": policy.pop("prune"), "review": policy.pop("review")},
        "promise": policy,
        "evidence": {"evidence": evidence},
        "data": {key: said.pop(key) for key in ("data", "origin", "roles", "rubric", "reference")},
        "metrics": said.pop("metrics"),
        "about": said,
    }


def _text(value: object) -> str:
    """As the digest sees it: 1 and 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Values that hold no named ones; a list is one value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value
