"""The words and patterns of the generated catalogue, read from `vocabulary.toml`, one split at a time.

Promises that what one split holds, no other does: themes, products, contents, brands, colours and
patterns. Only the units and numbers are common. Knows nothing of labels.
"""

from __future__ import annotations

import enum
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources


class Split(enum.StrEnum):
    """What a part of the catalogue is for."""

    TRAIN = "train"
    """To fit the weights."""
    DEV = "dev"
    """To fit the calibration map and to choose thresholds."""
    HELD_OUT = "held_out"
    """To judge, and to fill the demo's topic: seen by nothing that was fitted or chosen."""


class Facet(enum.StrEnum):
    """What a theme's rule is about."""

    CONTENTS = "contents"
    BRAND = "brand"
    SIZE = "size"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Family:
    """Products that belong to one theme."""

    theme: str
    domain: str
    products: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """What families of one kind have in common."""

    facets: tuple[Facet, ...]
    """What a rule or a description in this domain can be about."""
    units: tuple[str, ...]
    """Ways to write a size, with `{n}`; the first is the query's."""
    contents: tuple[str, ...]
    colourful: bool
    """Whether colour is told."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All words of one split."""

    domains: Mapping[str, Domain]
    families: tuple[Family, ...]
    brands: tuple[str, ...]
    colours: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]]
    """By role, such as `title` or `excluding`; the file's last section explains the slots."""


@functools.cache
def vocabulary(split: Split) -> Vocabulary:
    """Everything that `split` may say; read once per process."""
    words = tomllib.loads(resources.files("actors.learn").joinpath("vocabulary.toml").read_text("utf-8"))
    domains = {
        name: Domain(
            facets=tuple(map(Facet, entry["facets"])),
            units=tuple(words["units"][entry["unit"]]),
            contents=tuple(words["contents"][split].get(name, ())),
            colourful=entry["colourful"],
        )
        for name, entry in words["domains"].items()
    }
    families = tuple(
        Family(theme, entry["domain"], tuple(entry["products"]))
        for theme, entry in words["themes"][split].items()
    )
    return Vocabulary(
        domains=domains,
        families=families,
        brands=tuple(words["brands"][split]),
        colours=tuple(words["colours"][split]),
        patterns={role: tuple(patterns) for role, patterns in words["templates"][split].items()},
    )
