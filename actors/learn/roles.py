"""What a labelled cluster is used for: one thing only, and the same thing for ever.

Promises that roles are disjoint by cluster; that a cluster keeps its role when others are added, because it
follows from the cluster and the seed alone; and that a query with a role keeps it in later data (`Roles.inherit`),
so that a bundle is never judged on what it learned from. It records digests of queries, never their texts. Pure.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.errors import BundleProblem, DataRefused
from actors.kinds import MALFORMED
from actors.lexical import normal

ROLES_FILE = "roles.json"
"""Known to `actors.bundle`, too."""


class Role(enum.StrEnum):
    """What a cluster is for, in the order of use."""

    TRAIN = "train"
    """The encoder learns from it."""
    DEV = "dev"
    """Early stop, and the choice of a recipe."""
    MAP = "map"
    """The calibration map is fitted on it."""
    THRESHOLD = "threshold"
    """The promise is proven on it."""
    TEST = "test"
    """It judges the bundle, and nothing else."""


SHARES: Mapping[Role, float] = {
    Role.TRAIN: 0.5,
    Role.DEV: 0.1,
    Role.MAP: 0.1,
    Role.THRESHOLD: 0.2,
    Role.TEST: 0.1,
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Which query has which role: what a bundle records."""

    by_query: Mapping[str, Role]
    """By `digest` of the query's text."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back equal roles."""
        return {role.value: sorted(key for key, has in self.by_query.items() if has is role) for role in Role}

    def to_bytes(self) -> bytes:
        """The content of the roles' file."""
        return (json.dumps(self.to_json()) + "\n").encode()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Roles:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        listed = [(key, role) for role in Role for key in data[role.value]]
        if len(dict(listed)) != len(listed):
            raise ValueError("a query has two roles")
        return cls(dict(listed))

    def inherit(self, queries: Sequence[str], cluster: NDArray[np.int64]) -> list[Role | None]:
        """The roles that later data has from the clusters that are known.

        Args:
            queries: Texts, n of them.
            cluster: The cluster of each, int `[n]`.

        Returns:
            For each query the role of its cluster; None where no query of the cluster is known. A cluster that now
            holds queries of two roles takes the earlier one: what was trained on cannot become a test.
        """
        order = list(Role)
        found: dict[int, Role] = {}
        for query, number in zip(queries, cluster.tolist(), strict=True):
            role = self.by_query.get(digest(query))
            if role is not None:
                found[number] = min(role, found.get(number, role), key=order.index)
        return [found.get(number) for number in cluster.tolist()]


def assign(
    queries: Sequence[str],
    cluster: NDArray[np.int64],
    random: NDArray[np.bool_],
    *,
    shares: Mapping[Role, float] = SHARES,
    seed: int = 0,
    source: str = "labels",
) -> Roles:
    """Give each cluster a role.

    A cluster is drawn by the digest of its seed and its first query in sorted order. One that holds a pair that is
    not of a probability sample can only train: whatever else rested on it would rest on a chosen sample.

    Args:
        queries: Texts, one for each labelled pair, n of them.
        cluster: The cluster of each, int `[n]`.
        random: Whether the pair is of a probability sample, bool `[n]`.
        shares: Expected share of the clusters for each role; they are scaled to 1. One that is not named has none.
        seed: Another seed, another draw.
        source: Where the labels come from, for an error.

    Returns:
        The roles.

    Raises:
        DataRefused: A role got no cluster.
    """
    bounds = np.cumsum([shares.get(role, 0.0) for role in Role])
    members: dict[int, set[str]] = {}
    chosen: set[int] = set()
    for query, number, sampled in zip(queries, cluster.tolist(), random.tolist(), strict=True):
        members.setdefault(number, set()).add(normal(query))
        if not sampled:
            chosen.add(number)
    roles: dict[int, Role] = {}
    for number, texts in members.items():
        place = _uniform(f"{seed}/{min(texts)}") * bounds[-1]
        drawn = list(Role)[int(np.searchsorted(bounds, place, side="right"))]
        roles[number] = Role.TRAIN if number in chosen else drawn
    counts = {role: sum(has is role for has in roles.values()) for role in Role}
    empty = [role for role in Role if shares.get(role) and not counts[role]]
    if empty:
        sampled_well = len(roles) - len(chosen)
        problem = (
            f"{len(roles)} clusters of queries, {sampled_well} of a probability sample, leave none for "
            f"{', '.join(empty)}; label more clusters, or change the shares or the seed of the roles"
        )
        raise DataRefused(source, problem)
    return Roles({digest(text): roles[number] for number, texts in members.items() for text in texts})


def digest(query: str) -> str:
    """Names a query without telling it: 16 hexadecimal digits of the SHA-256 of its normal form."""
    return hashlib.sha256(normal(query).encode()).hexdigest()[:16]


def read_roles(folder: Path) -> Roles | None:
    """The roles that a checked bundle records.

    Args:
        folder: The bundle's.

    Returns:
        The roles; None where it records none.

    Raises:
        BundleProblem: The file is malformed.
    """
    try:
        return Roles.from_json(json.loads((folder / ROLES_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        raise BundleProblem(str(folder), f"{ROLES_FILE} is malformed: {error!r}") from error


def _uniform(text: str) -> float:
    """A number in [0, 1) that follows from the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / (1 << 48)
